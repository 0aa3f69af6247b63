"""What methods and attributes do, by name, on any value that a function under proof can meet.

Such a value is plain data, or came from a trusted function. So a name means the same wherever it may lie, or the worst
of what it may mean.
"""

from __future__ import annotations

_FLAT = """
as_posix replace bit_count bit_length capitalize casefold center count ctime date day decode digest
encode end endswith expandtabs find format format_map from_bytes hex hexdigest index isalnum isalpha isascii isdecimal
isdigit isdisjoint isidentifier isinteger is_integer islower isnumeric isoformat isoweekday isprintable
isspace issubset issuperset istitle isupper joinpath join limit_denominator ljust lower lstrip pack ratio
quick_ratio relative_to is_relative_to is_absolute removeprefix removesuffix rfind rindex rjust rstrip start
startswith strip sub swapcase time timestamp title to_bytes toordinal total_seconds translate tzname
upper utcoffset weekday with_name with_stem with_suffix zfill getvalue tell tobytes
argmax argmin argsort mean searchsorted std total
"""
_BOX = "findall groupdict rpartition rsplit split splitlines get_matching_blocks get_opcodes"
_LIST = "difference intersection most_common symmetric_difference union tolist flatten copy"
_TUPLE = "as_integer_ratio isocalendar span timetuple utctimetuple nonzero unpack subn group groups"
_LIVES = "finditer"
_LIVE = "elements fullmatch items iter iterfind itertext keys match search values"
_ANY = """
astype clip conjugate expand find findtext get max min ravel repeat reshape round squeeze swapaxes
transpose view diagonal
"""
# Of an array of objects, which can only have been made here, they may give out such an object.
_ARRAY = "all any cumprod cumsum dot item prod ptp sum trace var"
_CHANGES = """
add append appendleft byteswap clear compress decompress difference_update discard extend extendleft feed fill flush
insert intersection_update itemset move_to_end partition pop popitem popleft read readline readlines remove reverse
rotate seek set_seq1 set_seq2 set_seqs setdefault setflags sort subtract symmetric_difference_update truncate update
write writelines writeheader writerow writerows
"""
_GIVES = {
    name: gives
    for gives, names in (
        ("flat", _FLAT),
        ("tuple", _TUPLE),
        ("lives", _LIVES),
        ("box", _BOX),
        ("list", _LIST),
        ("live", _LIVE),
        ("any", _ANY),
        ("array", _ARRAY),
    )
    for name in names.split()
}
CHANGES = frozenset(_CHANGES.split())
GIVES = _GIVES | dict.fromkeys(CHANGES, "changes")

# Methods of arrays whose next positional argument would be an array to write into.
POSITIONAL = {
    **dict.fromkeys(
        [
            "all",
            "any",
            "argmax",
            "argmin",
            "cumprod",
            "cumsum",
            "dot",
            "mean",
            "prod",
            "std",
            "sum",
            "var",
            "round",
        ],
        1,
    ),
    **dict.fromkeys(["max", "min", "ptp", "trace"], 1),
    "clip": 2,
    "take": 2,
    "compress": 1,
    "copy": 0,  # a path's copy(target) writes a file
}
KEYWORDS_REFUSED = frozenset({"out", "copy", "file"})

ATTRIBUTES_FLAT = frozenset(
    [
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "second",
        "microsecond",
        "tzinfo",
        "days",
        "seconds",
        "microseconds",
        "numerator",
        "denominator",
        "dtype",
        "ndim",
        "size",
        "itemsize",
        "nbytes",
        "name",
        "stem",
        "suffix",
        "parent",
        "anchor",
        "drive",
        "root",
        "pattern",
        "flags",
        "groupindex",
        "pos",
        "endpos",
        "lastindex",
        "lastgroup",
        "re",
        "tag",
        "hex",
        "int",
        "bytes",
        "fields",
        "urn",
        "scheme",
        "netloc",
        "path",
        "params",
        "query",
        "fragment",
        "hostname",
        "port",
        "username",
        "password",
        "lineno",
        "colno",
        "digest_size",
        "block_size",
        "maxlen",
        "__name__",
        "__qualname__",
    ]
)
ATTRIBUTES_TUPLE = frozenset({"shape", "parts", "suffixes", "strides"})
ATTRIBUTES_ANY = frozenset(
    [
        "T",
        "args",
        "attrib",
        "default_factory",
        "errno",
        "fieldnames",
        "imag",
        "msg",
        "real",
        "reason",
        "start",
        "step",
        "stop",
        "string",
        "tail",
        "text",
        "value",
    ]
)
