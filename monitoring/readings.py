"""One value of a series, as any form of page has it: from prometheus-client's samples, or from lines of its text."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.samples import NativeHistogram, Sample

PART_OF = {"histogram": "le", "summary": "quantile"}
LINE = re.compile(r"([^{\s]+)(?:\{(.*)\})?\s+(\S+)")
PARTS = {name: re.compile(f'(?:^|,){name}="([^"]*)"') for name in PART_OF.values()}
LABEL = re.compile(r'(?:^|,)([^=,"]+)="((?:[^"\\]|\\.)*)"')
ESCAPED = re.compile(r"\\(.)")

Labels = tuple[tuple[str, str], ...]


class Reading(NamedTuple):
    """`bound`: a bucket's `le`, or a `quantile`. `labels`: without it, the same for all values of a series."""

    name: str
    labels: Labels
    bound: float | None
    value: float
    native: NativeHistogram | None = None


def of_samples(kind: str, samples: Iterable[Sample]) -> Iterator[Reading]:
    """`kind`: what their family is."""
    part = PART_OF.get(kind)
    for sample in samples:
        labels, bound = tuple(sample.labels.items()), None
        if part in sample.labels:
            labels = tuple(label for label in labels if label[0] != part)
            bound = float(sample.labels[part])
        yield Reading(sample.name, labels, bound, sample.value, sample.native_histogram)


def of_lines(kind: str, lines: Iterable[str]) -> Iterator[Reading]:
    """Lines that are no samples are left out."""
    part = PARTS.get(PART_OF.get(kind, ""))
    known: dict[str, Labels] = {}
    for line in lines:
        read = LINE.match(line)
        if read is None:
            continue
        name, told, value = read.group(1), read.group(2) or "", read.group(3)
        bound = part.search(told) if part else None
        series = told[: bound.start()] + told[bound.end() :] if bound else told
        labels = known.get(series)
        if labels is None:
            labels = known[series] = tuple((name, unescaped(value)) for name, value in LABEL.findall(series))
        try:
            yield Reading(name, labels, float(bound.group(1)) if bound else None, float(value))
        except ValueError:
            continue


def unescaped(told: str) -> str:
    return ESCAPED.sub(lambda found: "\n" if found.group(1) == "n" else found.group(1), told) if "\\" in told else told
