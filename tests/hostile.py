"""Untrusted input: specs, manifests and run folders, altered in every way. `guarded.py` reads them."""

import contextlib
import copy
import json
import os
import re
import tomllib

from hypothesis import strategies as st

from jaxopt_lab.store.manifest import MANIFEST, SEPARATORS, digest

SPECS = (
    """\
name = "first-look"
steps = 50
seeds = [0, 3]
target = 0.01
stop = { halving = { eta = 2, min_steps = 10 } }

[tasks.linear_regression]
batch_size = 10
[tasks.quadratic]
spectrum = [1.0, 0.1]

[space]
learning_rate = { log = [1e-3, 1.0, 3] }

[optimizers.adam]
b1 = [0.9, 0.95]
[optimizers.momentum]
nesterov = { static = [true, false] }
[optimizers."optax:sgd"]
""",
    """\
steps = 20
sample = { random = 4, key = 1 }
memory = 0.5
record = 2
[tasks.rosenbrock]
a = 1.0
[optimizers.sgd]
learning_rate = { linear = [0.1, 1.0] }
""",
    """\
steps = 20
combine = "zipped"
stop = { plateau = { patience = 5 } }
tasks.quadratic = {}
optimizers = { sgd = { learning_rate = [0.1, 0.2] }, "no.such:thing" = { x = 1 } }
""",
)

# Unexpected values in a document.
NUMBERS = (0, -1, 1, 2, 2**31 - 1, 2**31, 2**40, 2**53, 2**63, 10**12, 10**400, True, 0.5, -0.0, 1e-320, 1e308)
UNREAL = (float("nan"), float("inf"), float("-inf"))
NAMES = (
    *(
        "",
        ".",
        "..",
        "../x",
        "../../outside/x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "nul\0",
        "new\nline",
        "\x1b]0;x\x07",
        "\u202e",
    ),
    *("\ud800", "<script>alert(1)</script>", "[red]x[/red]", "none", "optax:", "optax:adamw", "os:system", "x" * 5000),
    *(
        "0" * 64,
        "config",
        "seed",
        "task.width",
        "task.",
        "float32",
        "bfloat16",
        "object",
        "pickle",
        "|O",
        "<M8[s]",
        "(1,",
    ),
)
DEEP = 3000


def deep(levels=DEEP):
    value = []
    for _ in range(levels):
        value = [value]
    return value


values = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(UNREAL),
    st.sampled_from(NAMES),
    st.sampled_from(
        (None, [], {}, [[]], [None], {"": None}, [0] * 100, [2**40] * 40, [10**12], [1, 10**12], {"a": {"b": {}}})
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.builds(lambda n: deep(n), st.sampled_from((20, 40, 200))),
).map(copy.deepcopy)  # for what is altered may be altered again


def places(tree, at=()):
    """Return the paths of all values in a tree of tables and lists."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*at, key)
        yield from places(value, (*at, key))


@st.composite
def altered(draw, tree, most=3):
    """The tree with values replaced, removed, renamed, repeated or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        if not (found := list(places(tree))):
            break
        *path, key = draw(st.sampled_from(found))
        parent = tree
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(("replace", "replace", "remove", "rename", "add", "move"))):
            case "replace":
                parent[key] = draw(values)
            case "remove":
                del parent[key]
            case "rename" if isinstance(parent, dict):
                parent[draw(st.sampled_from(NAMES) | st.text(max_size=5))] = parent.pop(key)
            case "add" if isinstance(parent, list):
                parent.insert(key, draw(values))
            case "add":
                parent[draw(st.sampled_from(NAMES))] = draw(values)
            case "move":
                other = draw(st.sampled_from(found))
                value = tree
                with contextlib.suppress(KeyError, IndexError, TypeError):
                    for step in other:
                        value = value[step]
                    parent[key] = copy.deepcopy(value)
    return tree


@st.composite
def scrambled(draw, content, pieces=()):
    """Bytes or text with spans of it removed, repeated, overwritten, or cut off."""
    for _ in range(draw(st.integers(1, 4))):
        a, b = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        how = draw(st.sampled_from(("cut", "remove", "repeat", "insert", "short")))
        strange = st.binary(max_size=8) if isinstance(content, bytes) else st.text(max_size=8)
        if pieces:
            strange = strange | st.sampled_from(pieces)
        match how:
            case "cut":
                content = content[:b]
            case "remove":
                content = content[:a] + content[min(b, a + 9) :]
            case "repeat":
                content = content[:b] + content[a:b] + content[b:]
            case "insert":
                content = content[:a] + draw(strange) + content[a:]
            case "short":
                content = content[:a] + draw(strange) + content[a + 1 :]
    return content


# Specs

TOKENS = (
    *(
        "nan",
        "-inf",
        "1e999",
        "0x" + "f" * 9000,
        "9" * 9000,
        "1979-05-27T07:32:00Z",
        "[" * 5000,
        "{a=" * 3000,
        '"""',
        "'''",
        "\r",
    ),
    *(
        "a." * 400 + "b = 1",
        "[" + "a." * 400 + "b]",
        "[[x]]",
        '"\\ud800"',
        "\x1b[31m",
        "\0",
        "=",
        "\n[optimizers.sgd]\n",
        "none",
    ),
    *(
        '"optax:scale"',
        '"os:system"',
        "[space]",
        "steps = 2147483647",
        "record = 1",
        "seeds = 2147483647",
        "task.x = 1",
    ),
    *(
        "{ log = [1e-5, 1.0, 2147483647] }",
        "{ static = [] }",
        "{ sobol = 2147483647 }",
        "eta = 1.0000000000000002",
        "patience = 1",
    ),
)


def toml(value):
    """Return a value in TOML, as far as TOML can express it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool | type(None)) else repr(value)


@st.composite
def specs(draw):
    """Texts that are nearly specs."""
    spec = draw(st.sampled_from(SPECS))
    match draw(st.sampled_from(("text", "characters", "tokens", "tokens", "tree", "tree", "tree"))):
        case "text":
            return draw(st.text(max_size=80))
        case "characters":
            return draw(scrambled(spec))
        case "tokens":
            tokens = re.findall(r"[\w.]+|\s+|.", spec)
            for _ in range(draw(st.integers(1, 3))):
                at = draw(st.integers(0, len(tokens) - 1))
                tokens[at : at + draw(st.integers(0, 2))] = [draw(st.sampled_from(TOKENS) | st.sampled_from(tokens))]
            return "".join(tokens)
    tree = draw(altered(tomllib.loads(spec)))
    return "".join(f"{json.dumps(str(key))} = {toml(value)}\n" for key, value in tree.items())


# Manifests


def sealed(run):
    """A manifest's bytes, with the checksum that they should have."""
    said = json.dumps(run, separators=SEPARATORS)
    return json.dumps({"format": "jaxopt_lab run 1", "digest": digest(said.encode()), "run": run}).encode()


def unsealed(content):
    """Return the text that a manifest's checksum is of."""
    return json.dumps(json.loads(content)["run"]).encode()


def resealed(content):
    """Return the bytes, if they are JSON, as a manifest with a correct checksum; else unchanged."""
    try:
        return sealed(json.loads(content))
    except (ValueError, RecursionError):
        return content


@st.composite
def manifests(draw, content):
    """Bytes that are nearly this manifest, most of them with a right checksum."""
    if draw(st.integers(0, 3)) == 0:
        return draw(scrambled(content, (b"[" * DEEP, b"1e999", b"NaN", b"\xff", b"9" * 5000, b'{"a":' * DEEP)))
    outer = json.loads(content)
    if draw(st.integers(0, 4)) == 0:
        return json.dumps(draw(altered(outer))).encode()
    return sealed(draw(altered(outer["run"])))


# Packs


@st.composite
def packs(draw, content):
    """Bytes that are nearly this piece of a pack, mostly with an altered header."""
    if draw(st.integers(0, 3)) == 0:
        return draw(scrambled(content, (b"\xff" * 8, b"[" * DEEP)))
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(draw(altered(json.loads(content[8 : 8 + length])))).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


# Folders


@st.composite
def spoil(draw, folder, outside):
    """Alter the content or the type of files in a folder. Returns what was done."""
    done = []
    for _ in range(draw(st.integers(1, 3))):
        plain = lambda path: path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20
        files = sorted(filter(plain, folder.rglob("*")))
        if not files:
            break
        metadata = [path for path in files if path.name.startswith(".z") or path.suffix == ".json"]
        how = draw(st.sampled_from(("metadata",) * 6 + ("bytes",) * 2 + ("kind", "add")))
        path = draw(st.sampled_from(metadata if metadata and how == "metadata" else files))
        done.append(f"{how} {path.relative_to(folder)}")
        content = path.read_bytes()
        match how:
            case "metadata":
                tree = None
                with contextlib.suppress(ValueError, RecursionError):
                    tree = json.loads(content)
                if isinstance(tree, dict) and path.name == MANIFEST and isinstance(tree.get("run"), dict):
                    path.write_bytes(draw(manifests(content)))
                elif tree:
                    path.write_text(json.dumps(draw(altered(tree))))
            case "bytes":
                path.write_bytes(draw(scrambled(content)))
            case "kind":
                replace(path, draw(st.sampled_from(KINDS)), outside)
            case "add":
                add(path.parent, draw(st.sampled_from(ADDED)), outside)
    return done


KINDS = ("gone", "folder", "pipe", "link out", "link to a device", "link to itself", "link to a folder", "huge")
ADDED = ("\u00b2", "007", "-1", "x.partial", "deep", "link", "zarr.json", ".zmetadata", "pipe", "new\nline\x1b[31m")


def replace(path, kind, outside):
    """Put something else in a file's place."""
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link out":
            path.symlink_to(outside / "precious")
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link to itself":
            path.symlink_to(path)
        case "link to a folder":
            path.symlink_to(outside)
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**42)  # sparse: it takes no room


def add(folder, name, outside):
    """Add a file that did not exist."""
    path = folder / name
    if os.path.lexists(path):
        return
    match name:
        case "deep":
            path.joinpath(*"d" * 300).mkdir(parents=True)
        case "link":
            path.symlink_to(outside)
        case "pipe":
            os.mkfifo(path)
        case "zarr.json" | ".zmetadata":
            path.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "metadata": {}, "attributes": {}}))
        case _:
            path.mkdir()
