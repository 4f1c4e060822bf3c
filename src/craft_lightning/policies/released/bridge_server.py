"""Runs a user's model in the user's own Python environment and answers over a loopback socket.

This file is started by path, by a Python that has never heard of this package: it needs Python 3.8, numpy and the
standard library, and torch only where the model does. It is imported too: ``TappedModel`` runs models of this process.

Messages, both ways: eight bytes with the length of a JSON header and of the arrays behind it (two little-endian uint32,
then the header, then the raw bytes of its arrays one after the other). Nothing is ever unpickled.
"""

from __future__ import annotations  # Python 3.8 must not evaluate what is written below

import argparse
import importlib
import json
import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

LIMIT = 1 << 31
"""Bytes that one message may have."""

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "uint8", "int8", "bool")
"""Types of arrays that a message may carry."""


class ServerFault(Exception):
    """What a request could not be answered for, told in one line."""


# --- messages ---------------------------------------------------------------------------------------------------------


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return one message with plain values and named arrays."""
    listing = []
    parts = []
    for name, array in arrays.items():
        array = np.asarray(array)
        if str(array.dtype) not in DTYPES:
            raise ServerFault("{} has dtype {}; give one of {}".format(name, array.dtype, ", ".join(DTYPES)))
        listing.append([name, str(array.dtype), list(array.shape)])
        parts.append(array.tobytes())
    text = json.dumps(dict(header, arrays=listing)).encode()
    body = b"".join(parts)
    if len(text) + len(body) > LIMIT:
        raise ServerFault(f"a message of {len(text) + len(body)} bytes is refused; send fewer states at once")
    return struct.pack("<II", len(text), len(body)) + text + body


def unpack(text: bytes, body: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the plain values and the arrays of a message whose parts were read; anything odd is a ``ServerFault``."""
    try:
        header = json.loads(text.decode())
        listing = header.pop("arrays")
        arrays = {}
        at = 0
        for name, dtype, shape in listing:
            if dtype not in DTYPES or any(not isinstance(size, int) or size < 0 for size in shape):
                raise ServerFault(f"array {name!r} is {dtype!r} {shape!r}")
            kind = np.dtype(dtype)
            count = 1
            for size in shape:
                count *= size
            if at + count * kind.itemsize > len(body):
                raise ServerFault(f"array {name!r} is longer than the message")
            arrays[name] = np.frombuffer(body, kind, count, at).reshape(shape).copy()
            at += count * kind.itemsize
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerFault(f"a message that cannot be read ({error})") from error
    return header, arrays


def read_exactly(connection: Any, count: int) -> bytes:
    """Read ``count`` bytes; EOFError where the other side hung up."""
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise EOFError("the other side hung up")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def receive(connection: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one message."""
    text, body = struct.unpack("<II", read_exactly(connection, 8))
    if text + body > LIMIT:
        raise ServerFault(f"a message of {text + body} bytes is refused")
    return unpack(read_exactly(connection, text), read_exactly(connection, body))


# --- the model --------------------------------------------------------------------------------------------------------


def nest(flat: Mapping[str, Any]) -> Any:
    """Turn dotted names into nested dictionaries, and into lists where all keys of a level are numbers."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        place = tree
        parts = name.split(".")
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = value

    def lists(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        done = {key: lists(value) for key, value in node.items()}
        if done and all(key.isdigit() for key in done):
            return [done[key] for key in sorted(done, key=int)]
        return done

    return lists(tree)


def pick(value: Any, path: Sequence[str]) -> Any:
    """Follow keys, indices and attributes into what a model answered."""
    for part in path:
        if isinstance(value, Mapping):
            if part not in value:
                raise ServerFault("there is no {!r} among {}".format(part, ", ".join(sorted(map(str, value))[:12])))
            value = value[part]
        elif isinstance(value, (list, tuple)) and part.lstrip("-").isdigit():
            if not -len(value) <= int(part) < len(value):
                raise ServerFault(f"there is no entry {part} among {len(value)}")
            value = value[int(part)]
        elif hasattr(value, "ndim") and part.isdigit() and value.ndim and int(part) < value.shape[0]:
            value = value[int(part)]
        elif hasattr(value, part):
            value = getattr(value, part)
        else:
            raise ServerFault(f"a {type(value).__name__} has no {part!r}")
    return value


class Tap:
    """One place of a model that is listened to: ``module:input.0`` or ``module:output.key``, ``@n`` for the n-th call.

    The path goes through tuples, mappings, attributes and the first axis of tensors.

    An empty module is the model itself: ``:output.trajectory``. Without ``@n`` the last call counts; ``@all`` stacks
    the calls along axis 1.
    """

    def __init__(self, text: str) -> None:
        place, _, call = text.partition("@")
        module, colon, rest = place.partition(":")
        path = rest.split(".")
        if not colon or path[0] not in ("input", "output"):
            raise ServerFault(f"the tap {text!r} is not of the form module:input.0 or module:output")
        self.text, self.module, self.side, self.path = text, module, path[0], path[1:]
        self.call = None if call == "all" else int(call or -1)


class TappedModel:
    """A model and the places in it that are listened to.

    Args:
        model: a torch module, or any object that answers ``__call__(inputs)``; where the object has an attribute
            ``module``, that torch module is listened to and holds the weights.
        taps: name of an answer -> place (see ``Tap``).
        call: positional arguments of the model: ``"*"`` is the mapping of all inputs, a name is one input or group of
            inputs, None is None. A wrapper (with ``module``) always gets the one mapping.
        blank: entries of the mapping that are None.
        seed: seeds torch before every run, so that a model that draws noise answers the same for the same batch.

    """

    def __init__(
        self,
        model: Any,
        taps: Mapping[str, str],
        call: Sequence[str | None],
        seed: int = 0,
        blank: Sequence[str] = (),
    ) -> None:
        self.model, self.call, self.seed, self.blank = model, tuple(call), seed, tuple(blank)
        self.module = getattr(model, "module", model)
        if not callable(model):
            raise ServerFault(f"the model is a {type(model).__name__}, which cannot be called")
        self.wrapped = self.module is not model
        self.taps = {name: Tap(text) for name, text in taps.items()}
        self.root = self._find_root()
        if hasattr(self.module, "eval"):
            self.module.eval()

    def _modules(self) -> dict[str, Any]:
        return dict(self.module.named_modules()) if hasattr(self.module, "named_modules") else {}

    def _find_root(self) -> str:
        """Return the prefix under which the model's own names lie (an agent may hold the model)."""
        wanted = sorted({tap.module for tap in self.taps.values() if tap.module})
        if not wanted:
            return ""
        names = self._modules()
        for name in sorted(names, key=len):
            if name == wanted[0] or name.endswith("." + wanted[0]):
                root = name[: len(name) - len(wanted[0])]
                if all(root + other in names for other in wanted):
                    return root
        missing = [name for name in wanted if name not in names]
        raise ServerFault(f"the model {type(self.module).__name__} has no module {(missing or wanted)[0]}")

    def state(self, prefixes: Sequence[str]) -> dict[str, Any]:
        """Return parameters and buffers whose names begin with one of ``prefixes``, by the model's own names."""
        if not hasattr(self.module, "state_dict"):
            return {}
        found = {}
        for name, value in self.module.state_dict().items():
            name = name[len(self.root) :] if name.startswith(self.root) else name
            if any(name.startswith(prefix) for prefix in prefixes):
                found[name] = value
        return found

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model once, without gradients, and return what was listened to."""
        import torch

        heard: dict[str, list[Any]] = {name: [] for name in self.taps}
        modules = self._modules()
        handles = []
        for name, tap in self.taps.items():
            if tap.module:
                handles.append(modules[self.root + tap.module].register_forward_hook(_listener(tap, heard[name])))
        nested = nest(dict(inputs, **dict.fromkeys(self.blank)))
        arguments = [nested if part == "*" else None if part is None else pick(nested, [part]) for part in self.call]
        try:
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(self.seed)
                answer = self.model(nested) if self.wrapped else self.model(*arguments)
        finally:
            for handle in handles:
                handle.remove()
        found = {}
        for name, tap in self.taps.items():
            if not tap.module:
                found[name] = pick(answer, tap.path)
            elif not heard[name]:
                raise ServerFault(f"the module {tap.module} was never run")
            elif tap.call is None:
                found[name] = torch.stack(heard[name], 1)
            else:
                found[name] = heard[name][tap.call]
            if isinstance(found[name], torch.Tensor):
                found[name] = found[name].detach()
        return found


def _listener(tap: Tap, heard: list[Any]) -> Callable[..., None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        value = pick(inputs if tap.side == "input" else output, tap.path)
        # Cloned: a later layer may work in place.
        heard.append(value.detach().clone() if hasattr(value, "detach") else value)

    return hook


# --- the server -------------------------------------------------------------------------------------------------------


def load_factory(name: str) -> Callable[..., Any]:
    """Import ``module:function``."""
    module, colon, function = name.partition(":")
    if not colon:
        raise ServerFault(f"the factory {name!r} is not of the form module:function")
    return getattr(importlib.import_module(module), function)


def as_arrays(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Turn what a model answered into arrays; half-precision types that numpy lacks become float32."""
    arrays = {}
    for name, value in values.items():
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float().numpy() if "bfloat16" in str(value.dtype) else value.numpy()
        elif not isinstance(value, (np.ndarray, np.generic, int, float, bool, list, tuple)):
            raise ServerFault(f"{name} is a {type(value).__name__} and no array")
        arrays[name] = np.asarray(value)
    return arrays


class Server:
    """Answers one client until it says goodbye."""

    def __init__(self, factory: str, arguments: Mapping[str, Any]) -> None:
        self.model = load_factory(factory)(**arguments)
        self.tapped: TappedModel | None = None

    def answer(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer one request: ``connect``, ``state`` or ``run``."""
        kind = header.get("request")
        if kind == "connect":
            self.tapped = TappedModel(self.model, *(header[key] for key in ("taps", "call", "seed", "blank")))
            return {}
        if self.tapped is None:
            raise ServerFault("the first request must be connect")
        if kind == "state":
            return as_arrays(self.tapped.state(header["prefixes"]))
        if kind == "run":
            return as_arrays(self.tapped.run(self._tensors(arrays)))
        raise ServerFault(f"unknown request {kind!r}")

    def _tensors(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        import torch

        module = self.tapped.module if self.tapped is not None else None
        some = next(iter(module.parameters()), None) if module is not None and hasattr(module, "parameters") else None
        device = "cpu" if some is None else some.device
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}

    def serve(self, connection: socket.socket) -> None:
        """Answer until the client hangs up."""
        while True:
            try:
                header, arrays = receive(connection)
            except EOFError:
                return
            try:
                message = pack({"ok": True}, self.answer(header, arrays))
            except Exception as error:  # the client tells the user; the server goes on
                traceback.print_exc()
                last = str(error).strip().splitlines()[-1:] or [""]
                message = pack({"ok": False, "error": f"{type(error).__name__}: {last[0]}"}, {})
            connection.sendall(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the model, connect to the client, prove the token, and serve.

    The port and the token come through the environment, since everybody on the machine can read a command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factory", required=True)
    parser.add_argument("--arguments", default="{}", help="JSON")
    parser.add_argument("--path", action="append", default=[], help="folder to import from")
    options = parser.parse_args(arguments)
    # The script's own folder must not shadow modules of the user's environment.
    sys.path[:] = options.path + [folder for folder in sys.path if folder != os.path.dirname(os.path.abspath(__file__))]
    port, token = int(os.environ.pop("CRAFT_BRIDGE_PORT")), os.environ.pop("CRAFT_BRIDGE_TOKEN")
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(pack({"token": token}, {}))
    try:
        server = Server(options.factory, json.loads(options.arguments))
    except Exception as error:
        traceback.print_exc()
        last = str(error).strip().splitlines()[-1:] or [""]
        connection.sendall(pack({"ok": False, "error": f"{type(error).__name__}: {last[0]}"}, {}))
        return 1
    connection.sendall(pack({"ok": True, "python": sys.version.split()[0]}, {}))
    server.serve(connection)
    return 0


if __name__ == "__main__":
    sys.exit(main())
