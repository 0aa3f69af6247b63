"""Functions, classes and methods whose effect is known: of the builtins, the standard library and numpy.

What a trusted function gives back is one of these:

    flat    nothing that can hold an object        box     a new container with new things in it
    tuple   one that is immutable throughout       list    a new container with elements of the arguments
    live    a new object that cannot be sent, which gives out elements of the arguments
    lives   one that gives out such objects        keep    one that gives out the arguments themselves
    any     perhaps an argument or a part of one, perhaps something new

A sign before it: ``!`` changes its first argument, and stores the others in it; ``~`` differs from one moment or
process to the next, so that no constant may come from it. Written in Python and not in the tables, a library's function
is looked into like anyone else's.
"""

from __future__ import annotations

import builtins
import os
import sys
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, ModuleType

_TABLE = """
builtins any: slice sum
builtins tuple: divmod
builtins flat: len abs all any ascii bin bool bytes bytearray callable chr complex float format hasattr hex int
builtins flat: isinstance issubclass oct ord pow range repr round str
builtins list: dict frozenset list set sorted tuple
builtins live: enumerate filter iter map reversed zip
builtins any: max min next
builtins.int flat: from_bytes
builtins.float flat: fromhex
builtins.bytes flat: fromhex maketrans
builtins.bytearray flat: fromhex
builtins.dict keep: fromkeys
ast box: literal_eval
ast flat: dump unparse
ast box: parse
ast live: iter_child_nodes walk
base64 flat: a85decode a85encode b16decode b16encode b32decode b32encode b64decode b64encode b85decode b85encode
base64 flat: standard_b64decode standard_b64encode urlsafe_b64decode urlsafe_b64encode
binascii flat: a2b_base64 b2a_base64 a2b_hex b2a_hex hexlify unhexlify crc32 crc_hqx
bisect flat: bisect bisect_left bisect_right
bisect !flat: insort insort_left insort_right
bz2 flat: compress decompress
calendar tuple: monthrange
calendar flat: isleap timegm weekday
cmath tuple: polar
cmath flat: acos acosh asin asinh atan atanh cos cosh exp isclose isfinite isinf isnan log log10 phase rect
cmath flat: sin sinh sqrt tan tanh
collections list: Counter OrderedDict defaultdict deque
contextlib live: suppress
copy any: copy
copy box: deepcopy
csv keep: DictReader DictWriter
csv live: reader writer
datetime flat: date datetime time timedelta timezone
datetime.date flat: fromisoformat fromordinal fromisocalendar
datetime.date ~flat: fromtimestamp today
datetime.datetime flat: combine fromisoformat fromordinal fromisocalendar
datetime.datetime ~flat: fromtimestamp now today utcfromtimestamp utcnow
difflib live: Differ SequenceMatcher context_diff ndiff unified_diff
difflib list: get_close_matches
fnmatch flat: fnmatchcase translate
fractions flat: Fraction
functools any: reduce
functools special: cmp_to_key partial
operator any: concat
operator special: itemgetter
builtins special: type
gzip flat: decompress
gzip ~flat: compress
hashlib live: blake2b blake2s md5 new sha1 sha224 sha256 sha384 sha3_224 sha3_256 sha3_384 sha3_512 sha512
hashlib flat: pbkdf2_hmac scrypt
heapq !flat: heapify heappush
heapq !any: heappop heappushpop heapreplace
heapq list: nlargest nsmallest
heapq live: merge
hmac live: new
hmac flat: compare_digest digest
html any: unescape
html flat: escape
io live: BytesIO StringIO
itertools lives: groupby
itertools live: accumulate batched chain combinations combinations_with_replacement compress cycle dropwhile filterfalse
itertools live: islice pairwise permutations product starmap takewhile zip_longest
itertools keep: repeat
itertools lives: tee
itertools live: count
itertools.chain live: from_iterable
json box: loads
json flat: dumps
keyword flat: iskeyword
lzma flat: compress decompress
math any: prod
math tuple: frexp modf
math flat: acos acosh asin asinh atan atan2 atanh ceil comb copysign cos cosh degrees dist erf erfc exp exp2 expm1 fabs
math flat: factorial floor fmod fsum gamma gcd hypot isclose isfinite isinf isnan isqrt lcm ldexp lgamma log log10
math flat: log1p log2 nextafter perm pow radians remainder sin sinh sqrt sumprod tan tanh trunc ulp
operator flat: abs and_ contains countOf eq floordiv ge gt index indexOf inv invert le lshift lt mod ne neg
operator flat: not_ pos pow rshift sub truediv truth xor
operator any: add getitem mul or_
operator !flat: delitem setitem
operator !any: iadd iand iconcat ifloordiv ilshift imatmul imod imul ior ipow irshift isub itruediv ixor
posixpath any: commonprefix
posixpath tuple: split splitext
posixpath flat: basename dirname isabs join normpath
pathlib flat: Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
quopri flat: decodestring encodestring
re tuple: subn
re box: split
re flat: compile escape sub
re box: findall
re lives: finditer
re live: fullmatch match search
shlex box: split
shlex flat: join quote
statistics any: median_grouped
statistics list: quantiles
statistics tuple: linear_regression
statistics flat: correlation covariance fmean geometric_mean harmonic_mean mean
statistics flat: pstdev pvariance stdev variance
statistics any: median median_high median_low mode
statistics list: multimode
string flat: capwords
struct tuple: unpack
struct flat: calcsize pack
struct live: Struct
struct live: iter_unpack
textwrap flat: dedent fill indent shorten
textwrap box: wrap
tokenize live: generate_tokens
time ~tuple: gmtime localtime
time ~flat: monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns sleep
time ~flat: thread_time thread_time_ns time time_ns
unicodedata any: decimal digit name numeric
unicodedata flat: bidirectional category combining east_asian_width is_normalized lookup mirrored
unicodedata flat: normalize decomposition
urllib.parse any: quote quote_plus urljoin urlunparse urlunsplit
urllib.parse tuple: urldefrag urlparse urlsplit
urllib.parse box: parse_qsl
urllib.parse flat: quote_from_bytes unquote unquote_plus unquote_to_bytes urlencode
urllib.parse box: parse_qs
uuid flat: UUID uuid3 uuid5
xml.etree.ElementTree box: fromstring XML fromstringlist
xml.etree.ElementTree flat: tostring
xml.sax.saxutils flat: escape quoteattr unescape
builtins.str any: maketrans
zlib flat: adler32 compress crc32 decompress
zlib live: compressobj decompressobj
numpy any: histogram
numpy any: sum prod cumsum cumprod nansum any all dot inner outer tensordot vdot cross trace tril triu vander
numpy any: full
numpy tuple: nonzero shape
numpy flat: allclose arange argmax argmin argsort argwhere array_equal average bincount convolve corrcoef
numpy flat: correlate count_nonzero cov digitize eye interp isclose
numpy flat: lexsort linspace logspace matmul mean nanmean ndim ones
numpy flat: percentile ptp quantile searchsorted size std tri var
numpy flat: zeros empty identity isin kron
numpy any: array asarray ascontiguousarray atleast_1d atleast_2d broadcast_to clip column_stack compress concatenate
numpy any: copy
numpy any: dstack einsum expand_dims flip fliplr flipud hstack meshgrid moveaxis pad ravel repeat reshape roll rot90
numpy any: round sort split squeeze stack swapaxes take tile transpose unique vstack where zeros_like ones_like
numpy any: empty_like full_like diff amax amin max min median nanmax nanmin float32 float64 int32 int64 uint8
numpy.linalg tuple: eig eigh lstsq qr slogdet svd
numpy.linalg flat: cholesky cond det eigvals eigvalsh inv matrix_rank norm pinv
numpy.linalg flat: solve
numpy.fft flat: fft fft2 fftfreq fftn ifft ifft2 ifftn irfft rfft rfft2 rfftfreq
"""

# Positional arguments after which numpy takes an array to write into.
NUMPY_POSITIONAL = {"clip": 3, "where": 3, "arange": 3, "linspace": 3, "interp": 3, "einsum": 9, "isclose": 4}
NUMPY_KEYWORDS = frozenset(
    [
        "a",
        "a_max",
        "a_min",
        "axes",
        "axis",
        "axis1",
        "axis2",
        "bins",
        "ddof",
        "decimals",
        "dtype",
        "endpoint",
        "equal_nan",
        "full",
        "hermitian",
        "high",
        "indexing",
        "k",
        "keepdims",
        "kind",
        "low",
        "mode",
        "n",
        "ndmin",
        "norm",
        "num",
        "offset",
        "optimize",
        "ord",
        "p",
        "q",
        "retstep",
        "return_counts",
        "return_index",
        "return_inverse",
        "rowvar",
        "rtol",
        "atol",
        "side",
        "sorter",
        "step",
        "start",
        "stop",
        "shape",
        "weights",
    ]
)


@dataclass(frozen=True, slots=True)
class Trusted:
    """A function or class of the tables, and what it does."""

    name: str
    gives: str
    changes_first: bool = False
    varies: bool = False
    at_most: int | None = None
    """Positional arguments that it may be given: a further one is an array to write into."""


_by_id: dict[int, tuple[object, Trusted]] = {}
_members: dict[
    str, Trusted
] = {}  # of classes, by dotted name: a class gives out a new object for them each time
_classes: dict[str, type] = {}
_STDLIB = os.path.dirname(os.path.realpath(os.__file__))
_PLAIN_EXCEPTIONS = frozenset(
    item for item in vars(builtins).values() if isinstance(item, type) and issubclass(item, Exception)
)


def _parsed() -> dict[str, list[tuple[str, list[str]]]]:
    table: dict[str, list[tuple[str, list[str]]]] = {}
    for line in _TABLE.strip().splitlines():
        where, _, names = line.partition(":")
        module, sign = where.split()
        table.setdefault(module, []).append((sign, list(names.split())))
    return table


_unread = _parsed()
_MODULES = frozenset(_unread)


def is_harmless_import(name: str) -> bool:
    """Whether a module is one of the tables', so that its import by the proof does nothing else."""
    return name in _MODULES and name.partition(".")[0] in sys.stdlib_module_names


def trusted(item: object) -> Trusted | None:
    """What the tables say of ``item``, None where they say nothing."""
    for module in [name for name in _unread if _owner(name) is not None]:
        _read(module)
    found = _by_id.get(id(item))
    if found is not None and found[0] is item:
        return found[1]
    if isinstance(item, type) and issubclass(item, BaseException):
        return Trusted(item.__name__, "error") if _is_plain_exception(item) else None
    if type(item).__name__ == "ufunc" and type(item).__module__ == "numpy":
        name = getattr(item, "__name__", "?")
        return Trusted(
            f"numpy.{name}", "any" if name in _CHOOSING else "flat", at_most=getattr(item, "nin", 1)
        )
    return None


def member(owner: Trusted, name: str) -> Trusted | None:
    """What the tables say of an attribute of a trusted class, such as ``datetime.now``."""
    return _members.get(f"{owner.name}.{name}")


def class_named(owner: Trusted) -> type | None:
    """The class that a table's entry stands for."""
    return _classes.get(owner.name)


def _is_plain_exception(item: type) -> bool:
    if item in _PLAIN_EXCEPTIONS:
        return True
    return item.__module__ in _ERRORS_OF and sys.modules[item.__module__].__dict__.get(item.__name__) is item


# Of arrays of objects these give out the objects themselves.
_CHOOSING = frozenset(
    [
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "logical_and",
        "logical_or",
        "subtract",
    ]
)
_ERRORS_OF = frozenset({"json.decoder", "struct", "binascii", "zlib", "statistics"})


def _owner(name: str) -> object | None:
    module = sys.modules.get(name)
    if module is None and "." in name:
        parent, _, last = name.rpartition(".")
        if parent in sys.modules:
            owner = vars(sys.modules[parent]).get(last)
            return owner if isinstance(owner, type) else None
    return module


def _read(owner_name: str) -> None:
    owner = _owner(owner_name)
    for sign, names in _unread.pop(owner_name):
        for name in names:
            item = getattr(owner, name, None)
            if item is None or not _is_genuine(item):
                continue
            dotted = f"{owner_name}.{name}".removeprefix("builtins.")
            at_most = NUMPY_POSITIONAL.get(name, 2) if owner_name.startswith("numpy") else None
            entry = Trusted(dotted, sign.lstrip("!~"), "!" in sign, "~" in sign, at_most)
            if isinstance(owner, type):
                _members[dotted] = entry
                continue
            if isinstance(item, type):
                _classes[dotted] = item
            _by_id.setdefault(id(item), (item, entry))


def _is_genuine(item: object) -> bool:
    """Whether it is what the library put there, not what a test has put in its place."""
    if isinstance(item, FunctionType):
        file = os.path.realpath(item.__code__.co_filename)
        is_frozen = file.find("<frozen") >= 0
        return is_frozen or file.startswith(_STDLIB + os.sep) or f"{os.sep}numpy{os.sep}" in file
    if isinstance(item, type):
        first = item.__module__.partition(".")[0]
        return first == "numpy" or first in sys.stdlib_module_names
    return isinstance(item, BuiltinFunctionType) or _is_of_numpy(item)


def _is_of_numpy(item: object) -> bool:
    return callable(item) and type(item).__module__.partition(".")[0] == "numpy"


def is_library(module: ModuleType) -> bool:
    """Whether the module is one whose constants stay what they are: of the standard library, or numpy."""
    first = module.__name__.partition(".")[0]
    return first == "numpy" or first in sys.stdlib_module_names
