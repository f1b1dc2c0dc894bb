"""A recipe as its YAML file says it. Unknown keys are refused."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
INPUT_NAME = r"^[a-z][a-z0-9_]{0,39}$"
MOST_CHARS = 1_000_000
MOST_ITEMS = 256

Kind = Literal["text", "texts", "labels", "choice", "number", "flag", "schema"]


class Section(BaseModel):
    """A mapping in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputField(Section):
    """What a caller gives. One with a default, or that is not `required`, may be left out; then it is the default or
    nothing.

    `text`: a string of `max_chars`. `texts`: a list of `max_items` of those. `labels`: distinct short names. `choice`:
    one of `options`. `number`: from `minimum` to `maximum`. `flag`: true or false. `schema`: a JSON schema.
    """

    name: str = Field(pattern=INPUT_NAME)
    type: Kind = "text"
    about: str = ""
    required: bool = True
    default: Any = None
    max_chars: int = Field(200_000, ge=1, le=MOST_CHARS)
    max_items: int = Field(64, ge=1, le=MOST_ITEMS)
    options: list[str] = Field(default_factory=list, max_length=MOST_ITEMS)
    minimum: float = -1e15
    maximum: float = 1e15

    @model_validator(mode="after")
    def _options_go_with_choice(self) -> "InputField":
        if (self.type == "choice") != bool(self.options):
            raise ValueError("`options` belong to an input of type choice, and such an input needs them")
        return self

    @property
    def may_be_left_out(self) -> bool:
        return not self.required or self.default is not None

    @property
    def is_list(self) -> bool:
        return self.type in ("texts", "labels")


class Message(Section):
    """`content`: a template over the inputs."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Output(Section):
    """How the answer is read from the model. `generate`: text. `json`: a document of a schema, fixed here or the
    caller's, in the input that `schema_from` names. `choose`: one of labels, likewise, with a probability for each.

    `blank`: the inputs that say something, which `choose` leaves out to learn what the model would say without; all
    texts that are required, if none are named.
    """

    kind: Literal["generate", "json", "choose"]
    json_schema: dict[str, Any] | None = None
    schema_from: str | None = None
    labels: list[str] | None = None
    labels_from: str | None = None
    blank: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "Output":
        needs = {"json": ("json_schema", "schema_from"), "choose": ("labels", "labels_from"), "generate": ()}
        for kind, names in needs.items():
            given = [name for name in names if getattr(self, name) is not None]
            if kind == self.kind and names and len(given) != 1:
                raise ValueError(f"an output of kind {kind} needs `{names[0]}` or `{names[1]}`, one of them")
            if kind != self.kind and given:
                raise ValueError(f"`{given[0]}` belongs to an output of kind {kind}")
        if self.blank and self.kind != "choose":
            raise ValueError("`blank` belongs to an output of kind choose")
        return self


class LongText(Section):
    """For an input that is longer than the model's context: `piece` is asked for each part of it, with that part in its
    place, then `combine` for all their answers together, in the same place. `max_tokens`: of a part's answer.
    """

    field: str
    piece: list[Message] = Field(min_length=1, max_length=16)
    combine: list[Message] = Field(min_length=1, max_length=16)
    max_tokens: int = Field(200, ge=16, le=4096)


class Defaults(Section):
    """What is taken if the caller says nothing. `model`: if none, the operator's for recipes, or the only one."""

    model: str | None = None
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    temperature: float = Field(0.0, ge=0, le=2)


class Limits(Section):
    """`max_tokens`: the most that a caller may ask for. `timeout_s`: for the whole call, all its parts together."""

    max_tokens: int = Field(4096, ge=1, le=1_000_000)
    timeout_s: float = Field(300.0, gt=0, le=3600)


class Recipe(Section):
    """One file. Its name is the file's."""

    name: str = Field(pattern=NAME)
    about: str = Field(min_length=1, max_length=500)
    inputs: list[InputField] = Field(min_length=1, max_length=32)
    messages: list[Message] = Field(min_length=1, max_length=32)
    output: Output
    long_text: LongText | None = None
    defaults: Defaults = Defaults()
    limits: Limits = Limits()

    @field_validator("inputs")
    @classmethod
    def _inputs_differ(cls, inputs: list[InputField]) -> list[InputField]:
        names = [one.name for one in inputs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"the input {twice!r} is there twice")
        return inputs

    @model_validator(mode="after")
    def _what_is_named_exists(self) -> "Recipe":
        fields = {one.name: one for one in self.inputs}
        output, long = self.output, self.long_text
        wanted: list[tuple[str, str | None, Kind]] = [
            ("output.schema_from", output.schema_from, "schema"),
            ("output.labels_from", output.labels_from, "labels"),
            ("long_text.field", long.field if long else None, "text"),
            *(("output.blank", name, "text") for name in output.blank),
        ]
        for where, name, kind in wanted:
            if name is None:
                continue
            if name not in fields or fields[name].type != kind:
                raise ValueError(f"{where} names {name!r}, which is not an input of type {kind}")
            if kind != "text" and not fields[name].required and fields[name].default is None:
                raise ValueError(f"the input {name!r} is what the output needs: require it, or give it a default")
        if long and output.kind != "generate":
            raise ValueError("long_text belongs to a recipe whose output is of kind generate")
        if self.defaults.max_tokens > self.limits.max_tokens:
            raise ValueError("defaults.max_tokens is more than limits.max_tokens")
        return self

    @property
    def blanked(self) -> list[str]:
        return self.output.blank or [one.name for one in self.inputs if one.type == "text" and not one.may_be_left_out]
