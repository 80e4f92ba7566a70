"""How fast maa is on this machine, beside what its readers would use instead, and beside what the machine can do.

    python benchmarks/bench.py [--tiny] [--out FILE] [PART ...]

Ours and the others' are timed in turns, in one process, so that whatever else the machine does disturbs all alike; medians count.
Peers come with ``pip install -e '.[bench]'``; one that is absent is left out, and the file says so.  Writes results/bench/results.json,
which book/benchmarks.md plots; with parts named ("maps", "triplets" and so on) only these are measured again.  Under ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from maa.data import FOV, MARGIN, ImageStack, build_stacks, field_of_view, gather_scales, stack_photograph
from maa.evaluation import PixelScores, average_precision
from maa.hardware import keep_memory, mixed_precision, precision
from maa.inference import dense_map, field_of, image_of, to_map, upsample
from maa.models import HGN, triplet_loss
from maa.models.hgn import _folded
from maa.phantom import IDRID_FRAME, PhantomConfig, make_phantom, write_dataset
from maa.provenance import environment, write_json
from maa.segmentation import load_system
from maa.training import Schedule, SelectiveSampler, WindowConfig, WindowTask, augment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results/bench/results.json"
PEERS = ("monai", "torchmetrics", "scikit-learn", "pytorch-metric-learning", "onnx", "onnxruntime", "openvino")
CPU = torch.device("cpu")
#: Seconds after which no further round of a comparison begins.
PATIENCE = 30.0

Work = Callable[[], object]


def in_turns(works: dict[str, Work], rounds: int = 7) -> dict[str, dict]:
    """Seconds of each, by name, timed in turns after one call to warm up; and how often the first is as fast as it."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    begun = time.perf_counter()
    for number in range(rounds + 1):
        if number > 1 and time.perf_counter() - begun > PATIENCE:
            break
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number:
                taken[name].append(time.perf_counter() - started)
    first = statistics.median(next(iter(taken.values())))
    return {
        name: {"seconds": statistics.median(each), "runs": each, "ratio": statistics.median(each) / first}
        for name, each in taken.items()
    }


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """By which power of its size a work's time grows: the slope of a straight line through both logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def there(*modules: str) -> bool:
    return all(find_spec(module) for module in modules)


def limits(tiny: bool) -> dict:
    """What the machine does at best: operations a second of a convolution and of a product of matrices, bytes copied a second."""
    side, size, length = (64, 128, 2**20) if tiny else (256, 2048, 2**26)

    def rates(kind: torch.dtype) -> dict[str, float]:
        image = torch.randn(1, 64, side, side, dtype=kind).to(memory_format=torch.channels_last)
        kernel = torch.randn(64, 64, 3, 3, dtype=kind).to(memory_format=torch.channels_last)
        a, b = torch.randn(size, size, dtype=kind), torch.randn(size, size, dtype=kind)
        with torch.inference_mode():
            took = in_turns({"convolution": lambda: F.conv2d(image, kernel), "product": lambda: a @ b})
        operations = {"convolution": 2 * 9 * 64 * 64 * (side - 2) ** 2, "product": 2 * size**3}
        return {name: count / took[name]["seconds"] for name, count in operations.items()}

    found = {"float32": rates(torch.float32)}
    if precision(CPU) == "bfloat16":
        found["bfloat16"] = rates(torch.bfloat16)
    source, target = torch.ones(length), torch.empty(length)
    bandwidth = 8 * length / in_turns({"copy": lambda: target.copy_(source)})["copy"]["seconds"]
    return {"operations_a_second": found, "bytes_a_second": bandwidth}


def network() -> HGN:
    torch.manual_seed(0)
    return HGN().to(memory_format=torch.channels_last).eval()


def maps(tiny: bool) -> dict:
    """The map of a photograph of 3 megapixels by one network: ours, and MONAI's sliding window."""
    height, width = (180, 260) if tiny else (1424, 2144)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    field, model = np.ones((height, width), bool), network()
    works: dict[str, Work] = {"maa": lambda: dense_map(model, image, field)}
    if there("monai"):
        from monai.inferers import sliding_window_inference

        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float().sub(128).div(32)

        def same_size(x: torch.Tensor) -> torch.Tensor:
            x = F.pad(x, (22, 22, 22, 22)).contiguous(memory_format=torch.channels_last)
            return torch.sigmoid(model.head(model.trunk.dense(x)).float())

        def slide(side: int, overlap: float) -> None:
            with torch.inference_mode(), mixed_precision(CPU):
                to_map(sliding_window_inference(pixels, (side, side), 1, same_size, overlap=overlap).numpy())

        works["MONAI as it comes"] = lambda: slide(256, 0.25)
        works["MONAI tuned"] = lambda: slide(512, 44 / 512)
    took = in_turns(works, 3)
    operations = 2 * sum(c.weight.numel() for c in model.trunk.convolutions) + 2 * model.trunk.features
    return {"pixels": height * width, "operations_a_pixel": operations, "times": took}


def precision_recall(tiny: bool) -> dict:
    """Average precision of the pixels of a photograph of 12 megapixels."""
    shape = (100, 120) if tiny else (2848, 4288)
    rng = np.random.default_rng(0)
    truth = rng.random(shape) < 0.001
    levels = to_map(rng.beta(0.3, 20, shape) * 0.6 + truth * rng.random(shape) * 0.4)
    values: dict[str, float] = {}

    def ours() -> None:
        scores = PixelScores()
        scores.add("one", levels, truth)
        values["maa"] = average_precision(*scores.pooled())

    works: dict[str, Work] = {"maa": ours}
    flat, labels = (levels / np.float32(65535)).ravel(), truth.ravel()
    if there("sklearn"):
        from sklearn.metrics import average_precision_score

        works["scikit-learn"] = lambda: values.update({"scikit-learn": float(average_precision_score(labels, flat))})
    if there("torchmetrics"):
        from torchmetrics.functional.classification import binary_average_precision as theirs

        p, t = torch.from_numpy(flat), torch.from_numpy(labels).long()
        works["torchmetrics exact"] = lambda: values.update({"torchmetrics exact": float(theirs(p, t))})
    took = in_turns(works, 3)
    if there("torchmetrics"):  # once: it takes as long as all others together
        started = time.perf_counter()
        values["torchmetrics, 1000 bins"] = float(theirs(p, t, thresholds=1000))
        spent = time.perf_counter() - started
        took["torchmetrics, 1000 bins"] = {"seconds": spent, "runs": [spent], "ratio": spent / took["maa"]["seconds"]}
    return {"pixels": truth.size, "times": took, "values": values}


def step_of_triplets(batch: int, mining: str, theirs: bool = False) -> Work:
    """A function that takes a triplet loss of a batch forward and backward."""
    torch.manual_seed(0)
    x, labels = F.normalize(torch.randn(batch, 64)).requires_grad_(), (torch.arange(batch) < batch // 2).long()
    if not theirs:
        return lambda: triplet_loss(x, labels, 0.3, mining=mining)[0].backward()
    from pytorch_metric_learning import distances, losses, miners

    metric = distances.LpDistance(normalize_embeddings=False)
    hard = mining == "batch-hard"
    miner = miners.BatchHardMiner(distance=metric) if hard else miners.TripletMarginMiner(0.3, "semihard", distance=metric)
    loss = losses.TripletMarginLoss(0.3, distance=metric)
    return lambda: loss(x, labels, miner(x, labels)).backward()


def triplets(tiny: bool) -> dict:
    """The triplet loss, forward and backward, in two ways of mining and batches of three sizes."""
    rows = {}
    for mining in ("batch-hard", "semi-hard"):
        for batch in (16, 32) if tiny else (128, 256, 512):
            works = {"maa": step_of_triplets(batch, mining)}
            if there("pytorch_metric_learning"):
                works["pytorch-metric-learning"] = step_of_triplets(batch, mining, theirs=True)
            rows[f"{mining}, {batch}"] = in_turns(works, 3 if tiny or mining == "semi-hard" else 31)
    return {"times": rows}


def photograph(tiny: bool) -> np.ndarray:
    """A phantom of the size and shape of IDRiD's photographs."""
    return make_phantom(seed=1, config=PhantomConfig(400) if tiny else IDRID_FRAME).image


def segment(file: Path, out: str, track: str, tiny: bool) -> list[str]:
    """What a fresh Python is to run, to segment one photograph."""
    return ["-m", "maa", "segment", str(file), "--out", out, "--track", track, *(["--resize", "1"] if tiny else [])]


def whole_commands(tiny: bool) -> dict:
    """Commands from start to end: ``maa segment`` and ``maa evaluate`` of photographs of 12 megapixels, imports, and ``make setup``."""
    found: dict[str, dict] = {}
    absent: dict[str, str] = {}
    asked = 1 if tiny else 2

    def run(name: str, *words: str) -> None:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        spent, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.setdefault(name, {"runs": [], "processor_runs": []})
        found[name]["runs"].append(spent)
        found[name]["processor_runs"].append(processor)

    for _ in range(1 if tiny else 5):
        run("import maa", "-c", "import maa")
        run("maa --version", "-m", "maa", "--version")
        run("from maa import segment", "-c", "from maa import segment")
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(1 if tiny else 3):
            nothing = ["-B", "-X", f"pycache_prefix={folder}/nothing"]  # as where PYTHONDONTWRITEBYTECODE is set
            run("the same, nothing compiled kept", *nothing, "-c", "from maa import segment")
        file = Path(folder) / "eye.png"
        started = time.perf_counter()
        image = photograph(tiny)
        found["phantom"] = {"runs": [time.perf_counter() - started]}
        Image.fromarray(image).save(file)
        for track in ("paper",) if tiny else ("paper", "beyond"):
            run(f"maa segment, {track}", *segment(file, f"{folder}/{track}", track, tiny))
        data = write_dataset(f"{folder}/data", 1, 0, n_test=asked, config=PhantomConfig(400) if tiny else IDRID_FRAME)
        words = ["--split", "test", "--no-healthy", "--data", str(data), "--out", f"{folder}/test.json"]
        run("maa evaluate, both tracks", "-m", "maa", "evaluate", *words, *(["--track", "paper"] if tiny else []))
        if not tiny:  # it needs a package index, which not every machine has
            started = time.perf_counter()
            made = subprocess.run(["make", "setup", f"VENV={folder}/venv"], cwd=ROOT, capture_output=True, text=True)
            if made.returncode:
                absent["make setup"] = (made.stderr.strip() or "it failed").splitlines()[-1][:120]
            else:
                found["make setup"] = {"runs": [time.perf_counter() - started]}
    for row in found.values():
        row["seconds"] = statistics.median(row["runs"])
        if "processor_runs" in row:
            row["processor_seconds"] = statistics.median(row["processor_runs"])
    return {"pixels": image.shape[0] * image.shape[1], "evaluated": asked, "times": found, "absent": absent}


def profile(tiny: bool) -> dict:
    """Where the time of ``maa segment`` of one photograph goes: seconds by what is done, by Python's own profiler."""
    own = {"convolutions": "torch.conv2d", "ReLU": "torch.relu_", "batch norm": "torch.batch_norm", "joining maps": "torch.cat"}
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "eye.png"
        Image.fromarray(photograph(tiny)).save(file)
        for track in ("paper",) if tiny else ("paper", "beyond"):
            words = ["-m", "cProfile", "-o", f"{folder}/profile", *segment(file, f"{folder}/{track}", track, tiny)]
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            measured = pstats.Stats(f"{folder}/profile")
            # By function: calls, calls that were no recursion, seconds of its own, seconds with what it called.
            rows = {name: row for (_, _, name), row in measured.stats.items()}  # type: ignore[attr-defined]
            seconds = {"imports": rows["_find_and_load"][3]}
            seconds |= {what: sum(r[2] for n, r in rows.items() if name in n) for what, name in own.items()}
            total = measured.total_tt  # type: ignore[attr-defined]
            found[track] = seconds | {"all else": total - sum(seconds.values()), "all": total}
    return found


class Windows(Dataset):  # type: ignore[type-arg]
    """The windows of a `WindowTask`, one at a time, as PyTorch's DataLoader wants them."""

    def __init__(self, task: WindowTask, count: int) -> None:
        self.task, self.count = task, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(index)
        where = self.task.draw(2, rng)[index % 2 :][:1]
        windows, labels = self.task.windows(where, rng)
        return windows[0], labels[0]


def window_task(tiny: bool, batch: int) -> WindowTask:
    config = PhantomConfig(256 if tiny else 1024, lesion_density=6.0)
    fundi = [make_phantom(seed=seed, diseased=seed == 1, config=config) for seed in (1, 2)]
    records = [SimpleNamespace(load=partial(lambda fundus: fundus, fundus)) for fundus in fundi]
    with tempfile.TemporaryDirectory() as folder:  # which stays mapped
        stack = build_stacks(records, Path(folder) / "stack")[0]
    how = WindowConfig(1.0, Schedule(steps=1, batch=batch, reports=1), side=96 if tiny else 256, pool=10_000)
    return WindowTask(stack, stack, how)


def training(tiny: bool) -> dict:
    """Windows a second, ours and by PyTorch's DataLoader; the share of a step that the data take; the sampler of millions."""
    batch, count, patches = (2, 4, 10_000) if tiny else (16, 64, 6_000_000)
    task, model = window_task(tiny, batch), network().train()
    optimizer = torch.optim.AdamW(model.parameters())

    def data() -> None:
        for seed in range(count // batch):
            rng = np.random.default_rng(seed)
            task.windows(task.draw(batch, rng), rng)

    def loaded(workers: int) -> None:
        for _ in DataLoader(Windows(task, count), batch_size=batch, num_workers=workers):
            pass

    def step() -> None:
        with mixed_precision(CPU):
            loss, _ = task.loss(model, 0, np.random.default_rng(0))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    times = in_turns({"maa": data, "DataLoader": lambda: loaded(0), "DataLoader, 2 workers": lambda: loaded(2)}, 3)
    whole = in_turns({"step": step}, 3)["step"]["seconds"]
    sampler, rng = SelectiveSampler(patches, power=0.5), np.random.default_rng(0)
    error = rng.random(patches, np.float32)
    picks = in_turns({"refresh": lambda: sampler.update(error), "draw of 1024": lambda: sampler.draw(1024, rng)}, 5)
    share = times["maa"]["seconds"] / (count // batch) / whole
    return {"windows": count, "times": times, "step": whole, "data_share": share, "patches": patches, "sampler": picks}


def growth(tiny: bool) -> dict:
    """How the time grows with pixels, windows, images and batch."""
    model, rng = network(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters())
    found: dict[str, dict] = {}

    def grow(what: str, unit: str, sizes: tuple[int, ...], make: Callable[[int], Work]) -> None:
        seconds = [in_turns({"maa": make(size)}, 3)["maa"]["seconds"] for size in sizes]
        found[what] = {"unit": unit, "sizes": list(sizes), "seconds": seconds, "exponent": exponent(list(sizes), seconds)}

    def map_of(pixels: int) -> Work:
        image = rng.integers(0, 256, (pixels // 512, 512, 3), np.uint8)
        return lambda: dense_map(model.eval(), image, np.ones(image.shape[:2], bool))

    def step(count: int) -> Work:
        windows = torch.randint(256, (count, 96, 96, 3), dtype=torch.uint8)

        def work() -> None:
            with mixed_precision(CPU):
                loss = model.train().grid(windows).float().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return work

    def evaluate(images: int) -> Work:
        shape = (64, 64) if tiny else (1424, 2144)
        level, truth = rng.integers(0, 65536, shape).astype(np.uint16), rng.random(shape) < 0.001

        def work() -> None:
            scores = PixelScores()
            for index in range(images):
                scores.add(str(index), level, truth)
            average_precision(*scores.pooled())

        return work

    scale = 1 if tiny else 8
    grow("inference", "pixels", tuple(2**14 * scale * 2**k for k in range(2 if tiny else 5)), map_of)
    grow("training step", "windows", (2, 4) if tiny else (4, 8, 16, 32), step)
    grow("evaluation", "images", (1, 2) if tiny else (1, 2, 4, 8, 16), evaluate)
    for mining in ("batch-hard", "semi-hard"):
        grow(f"{mining} mining", "batch", (16, 32) if tiny else (128, 256, 512, 1024), lambda b: step_of_triplets(b, mining))  # noqa: B023
    return {"curves": found}


def choices(tiny: bool) -> dict:
    """What maa's own ways of doing things are worth: each beside the other way."""
    batch, rows = 4 if tiny else 128, {}

    def step(layout: torch.memory_format, context: Callable[[], contextlib.AbstractContextManager]) -> Work:
        model = HGN().to(memory_format=layout).train()
        optimizer = torch.optim.AdamW(model.parameters())
        patches, labels = torch.randint(256, (batch, 45, 45, 3), dtype=torch.uint8), (torch.arange(batch) < batch // 2).float()

        def work() -> None:
            with context():
                loss = F.binary_cross_entropy_with_logits(model(patches).float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return work

    last, plain = torch.channels_last, torch.contiguous_format
    kinds = {"float32": contextlib.nullcontext, "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16)}
    rows["training step, precision"] = in_turns({name: step(last, kind) for name, kind in kinds.items()}, 3)
    as_here = lambda: mixed_precision(CPU)
    rows["training step, layout"] = in_turns({"channels last": step(last, as_here), "channels first": step(plain, as_here)}, 3)
    model = network()
    image = torch.randint(256, (1, 68, 68, 3), dtype=torch.uint8)

    def by_patch() -> torch.Tensor:
        patches = image[0].unfold(0, 45, 1).unfold(1, 45, 1).permute(0, 1, 3, 4, 2).reshape(-1, 45, 45, 3)
        return model(patches).reshape(24, 24)

    with torch.inference_mode():
        assert torch.allclose(model.dense(image)[0], by_patch(), atol=1e-3), "the two ways must give the same map"
        rows["map of 24 x 24 pixels"] = in_turns(
            {"dilated, at once": lambda: model.dense(image), "patch by patch": by_patch}, 3
        )
    shape = (200, 300) if tiny else (1424, 2144)
    rng = np.random.default_rng(0)
    stacks = stack_photograph(rng.integers(0, 256, (*shape, 3), np.uint8), np.ones(shape, bool))
    where = np.stack([np.zeros(4096, int), rng.integers(shape[0], size=4096), rng.integers(shape[1], size=4096)], axis=1)

    def in_a_loop() -> np.ndarray:
        padded, half = stacks[0].image(0), MARGIN - 22
        return np.stack([padded[r + half : r + half + 45, c + half : c + half + 45] for _, r, c in where])

    assert np.array_equal(stacks[0].gather(where, 45), in_a_loop())
    rows["gathering 4096 patches"] = in_turns({"one gather": lambda: stacks[0].gather(where, 45), "a loop": in_a_loop}, 3)
    both = gather_scales(stacks, where, 45)
    rows["4096 patches at two scales"] = in_turns(
        {"gathering": lambda: gather_scales(stacks, where, 45), "augmenting": lambda: augment(both, np.random.default_rng(0))},
        3,
    )
    return {"times": rows}


def tried(tiny: bool) -> dict:
    """What might make a map faster, beside maa's way: times, and by how much probabilities move; what cannot run here says why."""
    model, side = load_system().hgn_1x, 32 if tiny else 256
    image = photograph(tiny)
    stacks = stack_photograph(image, field_of_view(image, "the phantom"))
    (top, left), seen = (np.array(image.shape[:2]) // 2, side + 44)
    tile = np.ascontiguousarray(image_of(stacks[0], 0)[top : top + seen, left : left + seen])
    pixels = (torch.from_numpy(tile[None]).permute(0, 3, 1, 2).float() - 128) / 32
    pixels = pixels.contiguous(memory_format=torch.channels_last)

    class Dense(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.head = model.trunk, model.head

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.trunk.dense(x))

    dense, absent, works = Dense().eval(), {}, {}
    results: dict[str, np.ndarray] = {}

    def add(name: str, make: Callable[[], Callable[[], object]]) -> None:
        try:
            run = make()
            results[name] = np.asarray(torch.as_tensor(run()).detach().float())
            works[name] = run
        except Exception as error:  # whatever a library that is not ours raises, the others go on
            absent[name] = (str(error).strip() or type(error).__name__).splitlines()[0][:120]

    def fused() -> torch.Tensor:
        x, dilation = pixels, 1
        for convolution, norm, stride in model.trunk.layers:
            weight, bias = _folded(convolution, norm)
            pair = [dilation, dilation]
            x = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, [0, 0], [1, 1], pair, 1, "relu", [], "")
            dilation *= stride
        return model.head(x)

    def onnx(folder: Path) -> Path:
        path = folder / "hgn.onnx"
        if not path.exists():
            torch.onnx.export(dense, (pixels.contiguous(),), path, input_names=["x"], opset_version=17, dynamo=False)
        return path

    def session(path: Path) -> Callable[[], object]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        ready = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        plain = pixels.contiguous().numpy()
        return lambda: ready.run(None, {"x": plain})[0]

    def whole_numbers(folder: Path) -> Callable[[], object]:
        from onnxruntime.quantization import CalibrationDataReader, quantize_static

        class Once(CalibrationDataReader):
            left = 1

            def get_next(self) -> dict | None:
                self.left, now = 0, self.left
                return {"x": pixels.contiguous().numpy()} if now else None

        quantize_static(str(onnx(folder)), str(folder / "int8.onnx"), Once())
        return session(folder / "int8.onnx")

    def openvino(folder: Path) -> Callable[[], object]:
        import openvino as ov

        ready = ov.Core().compile_model(str(onnx(folder)), "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})
        plain = pixels.contiguous().numpy()
        return lambda: ready([plain])[0]

    def bfloat16() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return dense(pixels)

    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        add("float32, as it is", lambda: lambda: dense(pixels))
        add("bfloat16", lambda: bfloat16)
        add("oneDNN, ReLU within the convolution", lambda: fused)
        add("channels first", lambda: lambda: dense(pixels.contiguous()))
        if not tiny:
            add("torch.compile", lambda: (lambda compiled: lambda: compiled(pixels))(torch.compile(dense)))
        add("ONNX Runtime", lambda: session(onnx(folder)))
        add("ONNX Runtime, int8", lambda: whole_numbers(folder))
        add("OpenVINO", lambda: openvino(folder))
        times = in_turns(works, 7)
    first = torch.sigmoid(torch.from_numpy(results["float32, as it is"])).numpy()
    moved = {n: float(np.abs(torch.sigmoid(torch.from_numpy(r)).numpy() - first).max()) for n, r in results.items()}
    return {"pixels": side * side, "times": times, "largest_change": moved, "absent": absent, "skipping": skipping(stacks)}


def skipping(stacks: tuple[ImageStack, ImageStack]) -> dict:
    """The share of a field for which the map at 1x is needed, where that at 0.5x rules candidates out, and what tiles make of it."""
    system = load_system()
    field = (stacks[0].label(0) & FOV) > 0
    coarse = upsample(dense_map(system.hgn_half, image_of(stacks[1], 0), field_of(stacks[1], 0)), field.shape)
    # sqrt(p1 * p05) reaches the threshold only if p05 reaches its square; the smoothed map and its peaks see 13 pixels around.
    lowest = max(1, int(np.ceil((max(1, round(system.settings.hypothesis * 65535)) - 0.5) ** 2 / 65535)))
    needed = ndimage.maximum_filter((coarse >= lowest).view(np.uint8), 27) > 0
    shares = {"pixels": float((needed & field).sum() / field.sum())}
    for tile in (64, 128, 256):
        kept = [
            needed[top : top + tile, left : left + tile].any()
            for top in range(0, field.shape[0], tile)
            for left in range(0, field.shape[1], tile)
            if field[top : top + tile, left : left + tile].any()
        ]
        shares[f"tiles of {tile}"] = float(np.mean(kept))
    return shares


PARTS = {
    "limits": limits,
    "maps": maps,
    "precision_recall": precision_recall,
    "triplets": triplets,
    "training": training,
    "growth": growth,
    "choices": choices,
    "tried": tried,
    "whole_commands": whole_commands,
    "profile": profile,
}


def versions() -> dict[str, str | None]:
    """Of each peer; None where it is absent."""
    found: dict[str, str | None] = {}
    for peer in PEERS:
        try:
            found[peer] = version(peer)
        except PackageNotFoundError:
            found[peer] = None
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How fast maa is on this machine.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("--tiny", action="store_true", help="sizes of seconds, which measure nothing: whether all of it runs")
    parser.add_argument("--out", type=Path, default=OUT, help="the results file")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    keep_memory()
    os.environ["MAA_PROGRESS"] = "0"
    results = json.loads(chosen.out.read_text()) if chosen.parts and chosen.out.exists() else {"parts": {}}
    begun, before = time.perf_counter(), os.getloadavg()[0]
    for name in chosen.parts or PARTS:
        started = time.perf_counter()
        results["parts"][name] = PARTS[name](chosen.tiny)
        print(f"{name:18} {time.perf_counter() - started:6.1f} s", flush=True)
        present = {peer: found for peer, found in versions().items() if found}
        results |= {
            "environment": environment() | {"threads": torch.get_num_threads(), "precision": precision(CPU)},
            # Of parts that are not measured again, the peers are those that were there then.
            "peers": dict.fromkeys(PEERS) | results.get("peers", {}) | present,
            "seconds": results["seconds"] if chosen.parts and "seconds" in results else time.perf_counter() - begun,
            "load_before": before,  # how many others wanted a core
        }
        write_json(chosen.out, results)


if __name__ == "__main__":
    main()
