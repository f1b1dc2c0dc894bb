"""Values with everything on that may be on at once."""

from tests.unit.chart.helm import Document

EVERYTHING: Document = {
    "gateway": {
        "replicas": 2,
        "tls": {"existingSecret": "t"},
        "recipes": {"existingConfigMap": "r"},
        "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["llm.example.com"],
        "tls": [{"hosts": ["llm.example.com"], "secretName": "s"}],
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["llm.example.com"]},
    "monitoring": {
        "podMonitor": {"enabled": True, "nativeHistograms": True},
        "prometheusRule": {"enabled": True, "labels": {"release": "p"}},
        "dashboards": {"enabled": True},
    },
    "huggingFace": {"existingSecret": "hf"},
    "modelCache": {"claim": {"create": True, "storageClass": "nfs"}, "warmUp": {"enabled": True}},
    "gcsFaultTolerance": {"enabled": True, "redisAddress": "redis:6379", "existingSecret": "redis"},
    "image": {"digest": "sha256:" + "a" * 64, "pullSecrets": [{"name": "p"}]},
    "schedulerName": "volcano",
    "labels": {"volcano.sh/queue-name": "q"},
    "env": [{"name": "A", "value": "b"}],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}],
}
INCREMENTAL: Document = {"upgrade": {"type": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "istio"}}
