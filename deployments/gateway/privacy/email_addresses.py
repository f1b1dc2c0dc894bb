"""E-mail addresses as people write them: without RFC 5321's quotes and comments, in any script, and inside URLs."""

import re
from collections.abc import Iterator

from deployments.gateway.privacy.found import Found, Kind

LOCAL = r"\w.+&'~-"
ADDRESS = re.compile(
    rf"(?<![{LOCAL}])[{LOCAL}]{{0,64}}[\w+~-](?:@|%40)"
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[a-z0-9-]{1,59}|[^\W\d_]{2,63})(?![\w-])",
    re.IGNORECASE,
)
NO_FIRST = ".&'~-"
REMOTE_PATH = re.compile(r":[\w~/]")


def email_addresses(text: str) -> Iterator[Found]:
    """`git@host:path` is where a repository is, and `name@1.2.3` a version. An address in quotes or after a dash is
    found without them.
    """
    if "@" not in text and "%40" not in text:
        return
    for match in ADDRESS.finditer(text):
        begin, end = match.span()
        begin += len(match[0]) - len(match[0].lstrip(NO_FIRST))
        if text[begin] != "@" and not (text.startswith("git@", begin) and REMOTE_PATH.match(text, end)):
            yield Found(begin, end, Kind.EMAIL)
