"""2,000 sentences with personal data of every kind in many formats, and with what only looks like it. Seeded.

Numbers are made here, check digits and all: not by the libraries that have to find them.
"""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from random import Random

from deployments.gateway.privacy.found import Kind

COUNT = 2_000
NEAR_MISSES_SHARE = 0.45


@dataclass(frozen=True, slots=True)
class Item:
    """`text[begin:end]` is `kind`; None: nothing in it is personal data. `form`: what was made."""

    text: str
    kind: Kind | None
    form: str
    begin: int = 0
    end: int = 0


Make = Callable[[Random], str]

AROUND = (
    ("Please write to ", " before Friday."),
    ("Contact: ", "\nThank you"),
    ('{"value": "', '"}'),
    ("<td>", "</td>"),
    ("", ""),
    ("As discussed (", "), it is the same as last year."),
    ("- ", ""),
    ("Der Kunde nannte uns ", ", das war alles."),
    ("INFO 2026-11-26T12:30:45Z request from ", " accepted"),
    ('curl -d "x=', '" https://example.org/api'),
    ("Mine is ", ". Yours?"),
    ("field1;field2;", ";field4"),
    ('{"log": "line one\\n', '\\nline three"}'),
    ("| ", " | open |"),
)
FIRST = ("anna", "j.smith", "Jörg.Müller", "li-wei", "o'brien", "maria_garcia", "x", "sales+de", "bob1984", "T.K.")
DOMAINS = (
    *("example.com", "mail.example.co.uk", "bücher.example", "sub.domain.example.org", "gmx.de", "uni-bonn.de"),
    *("xn--bcher-kva.example", "a1.io", "company.museum", "example.travel"),
)


def digits(random: Random, count: int, first: str = string.digits) -> str:
    return random.choice(first) + "".join(random.choices(string.digits, k=count - 1)) if count else ""


def grouped(text: str, sizes: Sequence[int], gap: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return gap.join(part for part in [*parts, text[at:]] if part)


def email(random: Random) -> str:
    at = "%40" if random.random() < 0.05 else "@"
    address = (
        f"{random.choice(FIRST)}{random.choice(('', digits(random, 2)))}".rstrip(".") + at + random.choice(DOMAINS)
    )
    return random.choice((address, address.upper(), address))


def spaced_email(random: Random) -> str:
    """As people hide them: no detector here finds it."""
    return f"{random.choice(FIRST).rstrip('.')} (at) {random.choice(DOMAINS).replace('.', ' dot ')}"


PHONES: dict[str, Sequence[str]] = {
    "US": ("+1 #NN-NXX-XXXX", "+1 (#NN) NXX-XXXX", "+1#NNNXXXXXX", "1-#NN-NXX-XXXX", "(#NN) NXX-XXXX", "#NN-NXX-XXXX"),
    "US dots": ("#NN.NXX.XXXX", "+1.#NN.NXX.XXXX"),
    "US said": ("phone #NNNXXXXXX", "call me at #NNNXXXXXX", "Tel. #NN NXX XXXX"),
    "DE": (
        "+49 30 9018XXXX",
        "+49 (0)30 9018XXXX",
        "+49 151 2345XXXX",
        "+4930901XXXXX",
        "0049 30 9018XXXX",
        "+49-89-636-XXXXX",
    ),
    "GB": ("+44 20 7946 0XXX", "+44 7911 123XXX", "+447911123XXX", "+44 (0)20 7946 0XXX"),
    "FR": ("+33 6 12 3X XX XX", "+33 1 42 68 XX XX", "+33142685XXX", "0033 1 42 68 XX XX"),
    "others": (
        *("+91 98765 4XXXX", "+81 3-3224-XXXX", "+55 11 91234-XXXX", "+61 412 345 XXX", "+34 612 34X XXX"),
        *("+39 347 123 XXXX", "+86 138 1234 XXXX", "+52 55 5123 XXXX", "+41 44 668 1X XX", "+46 8 123 4XX XX"),
        *("+31 20 624 XXXX", "+48 22 123 XX XX", "+27 11 978 XXXX", "+971 4 364 XXXX", "tel:+43-1-51439-XXXX"),
    ),
    "national, of other regions": (
        *("030 9018XXXX", "0151 2345XXXX", "020 7946 0XXX", "07911 123XXX", "01 42 68 XX XX", "06 12 3X XX XX"),
    ),
}
AREAS = ("415", "212", "310", "617", "206", "512", "303", "404", "720", "905")


def phone(form: str) -> Make:
    def make(random: Random) -> str:
        pattern = random.choice(PHONES[form]).replace("#NN", random.choice(AREAS), 1)
        pattern = pattern.replace("N", random.choice("23456789"), 1) if "US" in form else pattern
        return "".join(random.choice(string.digits) if sign == "X" else sign for sign in pattern.replace("N", "4"))

    return make


CARDS = (("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("35", 16), ("62", 16))


def check_digit(number: str) -> str:
    """Luhn's, for `number` without it."""
    doubled = (int(sign) * (2 if place % 2 == 0 else 1) for place, sign in enumerate(reversed(number)))
    return str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)


def card_digits(random: Random, prefix: str, length: int) -> str:
    if prefix == "35":
        prefix = f"35{random.randint(28, 89)}"
    number = prefix + digits(random, length - 1 - len(prefix))
    return number + check_digit(number)


def card(random: Random) -> str:
    prefix, length = random.choice(CARDS)
    number = card_digits(random, prefix, length)
    gap = random.choice(("", "", " ", "-", "\u00a0"))
    return grouped(number, (4, 6, 5) if length == 15 else (4, 4, 4, 4), gap)


COUNTRIES = {
    "DE": "n18",
    "GB": "a4n14",
    "FR": "n10c11n2",
    "ES": "n20",
    "NL": "a4n10",
    "CH": "n5c12",
    "IT": "a1n10c12",
    "BE": "n12",
    "PL": "n24",
    "NO": "n11",
    "MT": "a4n5c18",
    "SE": "n20",
    "AT": "n16",
    "IE": "a4n14",
}


def account(random: Random, structure: str) -> str:
    made, at = "", 0
    while at < len(structure):
        kind, at = structure[at], at + 1
        size = ""
        while at < len(structure) and structure[at].isdigit():
            size, at = size + structure[at], at + 1
        letters = {"n": string.digits, "a": string.ascii_uppercase, "c": string.digits + string.ascii_uppercase}[kind]
        made += "".join(random.choices(letters, k=int(size)))
    return made


def iban_characters(random: Random) -> str:
    country = random.choice(sorted(COUNTRIES))
    own = account(random, COUNTRIES[country])
    check = 98 - int("".join(str(int(sign, 36)) for sign in f"{own}{country}00")) % 97
    return f"{country}{check:02}{own}"


def iban(random: Random) -> str:
    number = grouped(iban_characters(random), (4,) * 8, random.choice(("", " ", " ", "-")))
    return number.lower() if random.random() < 0.1 else number


def ip_v4(random: Random) -> str:
    first = random.choice((10, 172, 192, 8, 93, 203, 84, 151))
    return ".".join(map(str, (first, *(random.randint(0, 255) for _ in range(2)), random.randint(1, 254))))


def ip_v6(random: Random) -> str:
    head = random.choice((0x2001_0DB8, 0x2A00_1450, 0xFD12_3456, 0xFE80_0000))
    tail = random.choice((random.getrandbits(64), random.getrandbits(16)))
    address = IPv6Address((head << 96) | tail)
    return random.choice((address.compressed, address.compressed, address.exploded, address.compressed.upper()))


POSITIVES: Sequence[tuple[Kind, str, float, Make]] = (
    (Kind.EMAIL, "e-mail", 9, email),
    (Kind.EMAIL, "e-mail, hidden from machines", 0.5, spaced_email),
    *((Kind.PHONE, f"phone {form}", 2 if form in ("US", "others") else 1, phone(form)) for form in PHONES),
    (Kind.CARD, "card", 8, card),
    (Kind.IBAN, "IBAN", 8, iban),
    (Kind.IP, "IPv4", 5, ip_v4),
    (Kind.IP, "IPv6", 4, ip_v6),
)


def wrong_card(random: Random) -> str:
    number = card_digits(random, *random.choice(CARDS))
    wrong = number[:-1] + str((int(number[-1]) + random.randint(1, 9)) % 10)
    return grouped(wrong, (4, 4, 4, 4), random.choice(("", " ", "-")))


def order_number(random: Random) -> str:
    return random.choice(("order ", "Bestellung ", "invoice no. ", "ticket #", "SO-", "PO ")) + digits(
        random, random.choice((6, 8, 9, 10, 11, 12, 13, 16)), "123456789"
    )


def version(random: Random) -> str:
    parts = [str(random.randint(0, 30)) for _ in range(random.choice((3, 4)))]
    lead = random.choice(("v", "version ", "numpy==", "Version: ", "firmware ", "release ", "Chrome/", "build "))
    return lead + ".".join(parts)


def bare_version(random: Random) -> str:
    return "driver update " + ".".join(str(random.randint(0, 30)) for _ in range(4))


def date(random: Random) -> str:
    year, month, day = random.randint(1950, 2030), random.randint(1, 12), random.randint(1, 28)
    return random.choice(
        (
            f"{year}-{month:02}-{day:02}",
            f"{day:02}.{month:02}.{year}",
            f"{month}/{day}/{year}",
            f"{year}{month:02}{day:02}",
            f"{year}-{month:02}-{day:02} 14:30:05.123456",
            f"{day:02}/{month:02}/{year} 23:59",
            f"{random.randint(10**9, 2 * 10**9)}",
        )
    )


def isbn(random: Random) -> str:
    body = "978" + digits(random, 9)
    total = sum(int(sign) * (3 if place % 2 else 1) for place, sign in enumerate(body))
    number = body + str(-total % 10)
    return "ISBN " + random.choice((number, f"{number[:3]}-{number[3]}-{number[4:6]}-{number[6:12]}-{number[12]}"))


CODE = (
    *(
        "host = '127.0.0.1'",
        "listen 0.0.0.0:80;",
        "mask 255.255.255.0",
        "std::vector<int>::iterator",
        "http://[::1]:8080/",
    ),
    *("@app.route('/x')", "git@github.com:org/repo.git", "npm i react@18.2.0 lodash@4.17.21", "user@localhost"),
    *("00:1a:2b:3c:4d:5e", "d::e", "at 12:30:45 sharp", "ratio 16:9", "a[1:2:3]", "color #4111ff", "x = y @ z.T"),
    *("2.718281828459045", "3.141592653589793", "1,234,567,890.12", "(1) 234-567", "[10, 20, 30, 40]"),
    *("SELECT * FROM t WHERE id IN (1001, 1002, 1003)", "0x7fff5fbff8c0", "pages 123-456", "scale 1:25000"),
)


def code(random: Random) -> str:
    return random.choice(CODE)


def identifier(random: Random) -> str:
    hexadecimal = "".join(random.choices("0123456789abcdef", k=32))
    tracking = f"1Z{digits(random, 3)}{digits(random, 13)}"
    security = f"{digits(random, 3)}-{digits(random, 2)}-{digits(random, 4)}"
    return random.choice(
        (
            f"{hexadecimal[:8]}-{hexadecimal[8:12]}-{hexadecimal[12:16]}-{hexadecimal[16:20]}-{hexadecimal[20:]}",
            hexadecimal,
            tracking,
            f"IMEI 86{digits(random, 13)}",
            f"EAN 40{digits(random, 11)}",
            f"case {security}",
            f"SKU {digits(random, 4)}-{digits(random, 4)}-{digits(random, 3)}",
            f"ZIP 94105-{digits(random, 4)}",
        )
    )


def wrong_iban(random: Random) -> str:
    number = iban_characters(random)
    return number[:2] + f"{(int(number[2:4]) + random.randint(1, 80)) % 97:02}" + number[4:]


def no_ip(random: Random) -> str:
    return random.choice(
        (
            f"{random.randint(256, 999)}.{random.randint(0, 255)}.1.1",
            "1.2.3.4.5",
            "section 4.3.2.1",
            "2001:db8:::1",
            "12:34:56:78",
        )
    )


NEAR_MISSES: Sequence[tuple[str, float, Make]] = (
    ("card with a wrong check digit", 2, wrong_card),
    ("number of an order", 4, order_number),
    ("version", 3, version),
    ("four-part version that nothing says to be one", 0.3, bare_version),
    ("date or time", 3, date),
    ("ISBN", 2, isbn),
    ("code", 4, code),
    ("identifier", 3, identifier),
    ("IBAN with wrong check digits", 1, wrong_iban),
    ("no address", 1, no_ip),
)


def items(seed: int = 8) -> list[Item]:
    random = Random(seed)
    return [near_miss(random) if random.random() < NEAR_MISSES_SHARE else positive(random) for _ in range(COUNT)]


def positive(random: Random) -> Item:
    kind, form, _, make = random.choices(POSITIVES, [weight for _, _, weight, _ in POSITIVES])[0]
    before, after = random.choice(AROUND)
    value = make(random)
    said, value = ("", value) if kind != Kind.PHONE else split_words(value)
    if kind == Kind.IP and "." in value and random.random() < 0.3:
        after = random.choice((":8080", "/24", " - -")) + after
    begin = len(before) + len(said)
    return Item(before + said + value + after, kind, form, begin, begin + len(value))


def split_words(value: str) -> tuple[str, str]:
    """`phone 123`: what is said of a number is not part of it."""
    begin = next(place for place, sign in enumerate(value) if sign in "+(" or sign.isdigit())
    return value[:begin], value[begin:]


def near_miss(random: Random) -> Item:
    form, _, make = random.choices(NEAR_MISSES, [weight for _, weight, _ in NEAR_MISSES])[0]
    before, after = random.choice([around for around in AROUND if "@" not in around[0]])
    return Item(before + make(random) + after, None, form)
