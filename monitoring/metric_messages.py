"""The messages of Prometheus's protobuf exposition, `io.prometheus.client`, as far as anything here is told in them.

Names and numbers of fields are those of prometheus/client_model's metrics.proto. They are described at run time, in a
pool of their own: no generated file that must fit the protobuf of the day, no clash with another package's.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "io.prometheus.client"
TYPES = ("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM")
FIELDS: dict[str, tuple[tuple[int, str, str], ...]] = {
    "LabelPair": ((1, "name", "string"), (2, "value", "string")),
    "Gauge": ((1, "value", "double"),),
    "Counter": ((1, "value", "double"),),
    "Untyped": ((1, "value", "double"),),
    "Quantile": ((1, "quantile", "double"), (2, "value", "double")),
    "Summary": ((1, "sample_count", "uint64"), (2, "sample_sum", "double"), (3, "quantile", "many Quantile")),
    "Bucket": ((1, "cumulative_count", "uint64"), (2, "upper_bound", "double")),
    "BucketSpan": ((1, "offset", "sint32"), (2, "length", "uint32")),
    "Histogram": (
        (1, "sample_count", "uint64"),
        (2, "sample_sum", "double"),
        (3, "bucket", "many Bucket"),
        (5, "schema", "sint32"),
        (6, "zero_threshold", "double"),
        (7, "zero_count", "uint64"),
        (9, "negative_span", "many BucketSpan"),
        (10, "negative_delta", "many sint64"),
        (12, "positive_span", "many BucketSpan"),
        (13, "positive_delta", "many sint64"),
    ),
    "Metric": (
        (1, "label", "many LabelPair"),
        (2, "gauge", "Gauge"),
        (3, "counter", "Counter"),
        (4, "summary", "Summary"),
        (5, "untyped", "Untyped"),
        (6, "timestamp_ms", "int64"),
        (7, "histogram", "Histogram"),
    ),
    "MetricFamily": (
        (1, "name", "string"),
        (2, "help", "string"),
        (3, "type", "MetricType"),
        (4, "metric", "many Metric"),
    ),
}


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package=PACKAGE, syntax="proto2")
    kinds = file.enum_type.add(name="MetricType")
    for number, name in enumerate(TYPES):
        kinds.value.add(name=name, number=number)
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for number, name, kind in fields:
            _describe(described.field.add(name=name, number=number), kind)
    return file


def _describe(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    is_many, name = kind.startswith("many "), kind.removeprefix("many ")
    field.label = field.LABEL_REPEATED if is_many else field.LABEL_OPTIONAL
    if name in FIELDS or name == "MetricType":
        field.type = field.TYPE_MESSAGE if name in FIELDS else field.TYPE_ENUM
        field.type_name = f".{PACKAGE}.{name}"
    else:
        field.type = getattr(field, f"TYPE_{name.upper()}")
        field.options.packed = is_many


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_described())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in FIELDS}


_CLASSES = _classes()
LabelPair, Metric, MetricFamily = (_CLASSES[name] for name in ("LabelPair", "Metric", "MetricFamily"))
