"""Whether Grafana's own types take a dashboard and what is in its panels, by TypeScript's compiler: unknown keys too.

`@grafana/schema` of each version is what scripts/chart_tools.sh fetches into .tools; a test without it is skipped.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[3] / ".tools" / "grafana-types"
VERSIONS = ("10", "11", "12", "13")
FOLDERS = {
    "timeseries": "timeseries",
    "stat": "stat",
    "bargauge": "bargauge",
    "heatmap": "heatmap",
    "state-timeline": "statetimeline",
    "table": "table",
}
WITHOUT_FIELD_CONFIG = {"stat", "bargauge"}
OPTIONS = {
    "strict": True,
    "noEmit": True,
    "skipLibCheck": True,
    "types": [],
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
}

# An enum's values are text in JSON. What the options leave out is filled in by the panel.
AS_WRITTEN = """
type Written<T> = T extends string ? `${T}` : T extends (infer Item)[] ? Written<Item>[]
  : T extends object ? { [Key in keyof T]: Written<T[Key]> } : T;
type Some<T> = T extends (infer Item)[] ? Some<Item>[] : T extends object ? { [Key in keyof T]?: Some<T[Key]> } : T;
type Fields<Custom> = { defaults: Omit<Dash.FieldConfig, "custom"> & { custom?: Some<Custom> }; overrides: [] };
type Target = { refId: string; datasource: Dash.DataSourceRef; expr: string; legendFormat: string; range: boolean;
  instant: boolean; format: "time_series" | "table" | "heatmap" };
type Of<Type extends string, Options, Custom> = Written<
  Omit<Dash.Panel, "type" | "options" | "fieldConfig" | "targets" | "datasource"> & { type: Type; id: number;
  options: Some<Options>; fieldConfig: Fields<Custom>; targets: Target[]; datasource: Dash.DataSourceRef }>;
"""

Document = dict[str, Any]


def compiler() -> Path:
    path = TOOLS / "node_modules" / ".bin" / "tsc"
    if not path.exists():
        pytest.skip("Grafana's types are not installed: scripts/chart_tools.sh fetches them")
    return path


def wrong_types(version: str, documents: list[Document]) -> str:
    """What the compiler says of them; nothing if all is well."""
    tsc, types = compiler(), TOOLS / "node_modules" / f"grafana-{version}" / "dist"
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        source, config = Path(folder) / "dashboards.ts", Path(folder) / "tsconfig.json"
        source.write_text("\n".join(_source(types, documents)))
        options = {**OPTIONS, "paths": {"@grafana/schema": [str(_index(types))]}}
        config.write_text(json.dumps({"compilerOptions": options, "files": [source.name]}))
        done = subprocess.run([str(tsc), "-p", str(config)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _source(types: Path, documents: list[Document]) -> list[str]:
    """A literal for each panel: of a union's the compiler would not say which key is wrong."""
    lines = [f"import type * as Dash from {_file(types, 'raw/dashboard/x')};"]
    for kind, folder in FOLDERS.items():
        lines.append(f"import type * as {_name(kind)} from {_file(types, f'raw/composable/{folder}/panelcfg/x')};")
    lines.append(AS_WRITTEN)
    for kind in FOLDERS:
        custom = "{}" if kind in WITHOUT_FIELD_CONFIG else f"{_name(kind)}.FieldConfig"
        lines.append(f'type {_name(kind)}Panel = Of<"{kind}", {_name(kind)}.Options, {custom}>;')
    for number, document in enumerate(documents):
        page = {key: value for key, value in document.items() if key != "panels"}
        lines.append(f'const page{number}: Written<Omit<Dash.Dashboard, "panels">> = {json.dumps(page)};')
        for panel in document["panels"]:
            type_ = "Written<Dash.RowPanel>" if panel["type"] == "row" else f"{_name(panel['type'])}Panel"
            lines.append(f"const page{number}panel{panel['id']}: {type_} = {json.dumps(panel)};")
    return lines


def _name(kind: str) -> str:
    return kind.replace("-", "").capitalize()


def _file(types: Path, folder: str) -> str:
    (path,) = list(types.glob(f"types/{folder}/*.d.ts")) or list(types.glob(f"esm/{folder}/*_types.gen.d.ts"))
    return json.dumps(str(path.with_suffix("").with_suffix("")))


def _index(types: Path) -> Path:
    """The package's own types: files of older versions import them by its name."""
    names = ("types/index.d.ts", "esm/index.d.mts", "index.d.ts")
    return next(types / name for name in names if (types / name).exists())
