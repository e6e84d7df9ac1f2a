"""Out of memory: recognised however the process ends, and answered by half the micro-batch from the last checkpoint.

The slow tests let a real training process exceed a real limit: RLIMIT_AS (the allocation fails in the process) and a
memory control group (the kernel kills it).
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from common.model.adapter import read_adapter
from common.process.supervise import MOST_RETRIES, OUT_OF_MEMORY_STATUS, is_out_of_memory, memory_reason, supervise
from common.run.directory import RunDirectory
from tests.journey.conftest import ENGINES
from tests.waiting import wait_until

METAL = "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution "
DOCUMENTS, TOKENS = 160, 81920


@pytest.mark.parametrize(
    ("status", "words", "killed", "reason"),
    [
        (OUT_OF_MEMORY_STATUS, "", False, "memory ran out"),
        (-signal.SIGABRT, METAL + "failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
         False, "memory ran out"),
        (-signal.SIGABRT, METAL + "failed: Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)",
         False, "watchdog"),
        (-signal.SIGABRT, METAL + "failed: Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingI"
         "nteractivity)", False, "watchdog"),
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'", False, "memory ran out"),
        (-signal.SIGABRT, "Assertion failed: index < size", False, None),
        (-signal.SIGKILL, "", True, "lack of memory"),
        (-signal.SIGKILL, "", False, None),
        (-signal.SIGSEGV, "out of memory", True, None),
        (1, "out of memory", True, None),
        (0, "out of memory", True, None),
    ],
)  # fmt: skip
def test_only_ends_for_lack_of_memory_are_taken_for_it(status, words, killed, reason):
    found = memory_reason(status, words, killed)
    assert (found is None) == (reason is None)
    assert reason is None or reason in found


def test_a_crash_counts_where_the_address_space_is_limited():
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT):
        assert memory_reason(-number, "", False, limited=False) is None
        assert "address space" in (memory_reason(-number, "", False, limited=True) or "")
    assert memory_reason(1, "", False, limited=True) is None
    assert memory_reason(-signal.SIGTERM, "", False, limited=True) is None


def test_exceptions_of_both_engines_are_recognised_and_others_are_not():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("[metal::malloc] Attempting to allocate 9 bytes which is greater than"))
    assert is_out_of_memory(RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory (00000008:k)"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes (2, 3) and (4, 5) cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


CHILD = """
import os, sys
sys.path.insert(0, {root!r})
from common.process.supervise import retry_request
if retry_request() < {good}:
    sys.stderr.write("terminate called: std::bad_alloc\\n")
    sys.stderr.flush()
    os.abort()
print("attempt", retry_request())
"""


@pytest.mark.parametrize(("good", "status"), [(2, 0), (9, 1)])
def test_retries_are_said_recorded_and_few(tmp_path, capfd, good, status):
    code = CHILD.format(root=os.getcwd(), good=good)
    assert supervise([sys.executable, "-c", code], tmp_path) == status
    said = capfd.readouterr()
    rows = [json.loads(line) for line in (tmp_path / "retries.jsonl").read_text().splitlines()]
    tried = min(good, MOST_RETRIES)
    assert [row["attempt"] for row in rows] == list(range(1, tried + 1))
    assert said.err.count("half the micro-batch") == tried
    assert said.err.count("std::bad_alloc") == min(good, MOST_RETRIES + 1), "the child's own words are shown"
    assert ("attempt 2" in said.out) == (status == 0)
    assert ("sumkit plan" in said.err) == (status == 1)


@pytest.fixture(scope="module")
def long_data(tmp_path_factory) -> Path:
    """Documents of several hundred tokens: one optimizer step sees them all."""
    path = tmp_path_factory.mktemp("long") / "train.jsonl"
    words = ["the", "council", "closed", "a", "bridge", "and", "told", "nobody", "why", "over", "homes", "near"]
    rng = np.random.default_rng(0)
    rows = [
        {"id": f"d{n}", "document": " ".join(rng.choice(words, 400)), "summary": " ".join(rng.choice(words, 12))}
        for n in range(DOCUMENTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(engine, model, data, run, steps, tokens=TOKENS, *more):
    flags = {
        "data": data, "model": model, "run": run, "max-length": 512, "batch-size": DOCUMENTS, "steps": steps, "rank": 4,
        "quantize": "none", "dtype": "float32", "micro-batch-tokens": tokens, "save-every": 1, "eval-every": 100,
        "learning-rate": 1e-3, "max-summary-tokens": 96, "duplicates": "keep", "leaks": "keep",
    }  # fmt: skip
    listed = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    package = {"mlx": "mlx_sum", "cuda": "cuda_sum"}[engine]
    return [sys.executable, "-m", f"{package}.train", *listed, "--no-final-eval", *more]


def peaks(arguments) -> tuple[int, int]:
    """Peak resident and peak virtual bytes of the training process of a command."""
    resident = virtual = 0
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for child in psutil.Process(process.pid).children():
                try:
                    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
                except OSError:
                    continue
                for line in lines:
                    if line.startswith("VmHWM:"):
                        resident = max(resident, int(line.split()[1]) * 1024)
                    if line.startswith("VmPeak:"):
                        virtual = max(virtual, int(line.split()[1]) * 1024)
            time.sleep(0.02)
        assert process.returncode == 0, process.stderr.read()
    return resident, virtual


def check_retried(answer, run, whole):
    assert answer.returncode == 0, answer.stderr
    retries = [json.loads(line) for line in (run / "retries.jsonl").read_text().splitlines()]
    assert 1 <= len(retries) <= MOST_RETRIES
    assert answer.stderr.count("half the micro-batch") == len(retries)
    assert "resuming from" in answer.stderr
    assert f"micro-batches of at most {TOKENS >> len(retries)} tokens" in answer.stderr
    ours, theirs = RunDirectory(run).read_metrics(), RunDirectory(whole).read_metrics()
    assert [row["step"] for row in ours] == [1, 2, 3]
    for one, other in zip(ours, theirs, strict=True):
        assert one["target_tokens"] == other["target_tokens"], "the step sees the same examples"
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    weights = read_adapter(whole / "adapter").weights
    for name, value in read_adapter(run / "adapter").weights.items():
        assert np.allclose(value, weights[name], rtol=1e-2, atol=1e-4), name
    return retries


def first_step(engine, model, data, run):
    answer = subprocess.run(command(engine, model, data, run, 1), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return [*command(engine, model, data, run, 3), "--resume"]


@pytest.fixture(scope="module", params=ENGINES)
def measured(request, tmp_path_factory, tiny_model, long_data):
    """Engine, an unlimited run, and (resident, virtual) peak bytes with large and with small micro-batches."""
    folder = tmp_path_factory.mktemp("measured")
    engine = request.param
    large = peaks(command(engine, tiny_model, long_data, folder / "whole", 3))
    small = peaks(command(engine, tiny_model, long_data, folder / "small", 3, TOKENS // 4))
    print(f"{engine}: resident {small[0] / 1e6:.0f} to {large[0] / 1e6:.0f} MB, "
          f"virtual {small[1] / 1e6:.0f} to {large[1] / 1e6:.0f} MB")  # fmt: skip
    return engine, folder / "whole", large, small


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux only")
def test_a_process_whose_allocation_fails_goes_on_with_half_the_micro_batch(tmp_path, tiny_model, long_data, measured):
    engine, whole, (_, large), (_, small) = measured
    assert large > small + (100 << 20)
    limit = small + (large - small) // 4
    resumed = first_step(engine, tiny_model, long_data, tmp_path / "run")
    answer = subprocess.run(
        resumed, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    print(check_retried(answer, tmp_path / "run", whole), answer.stderr)


@pytest.fixture
def memory_group():
    """A new memory control group, version 1 or 2: a function that runs a command inside it under a limit."""
    root = Path("/sys/fs/cgroup")
    first, name = (root / "memory").is_dir(), f"sumkit-test-{os.getpid()}"
    group = root / "memory" / name if first else root / name
    limit_file = group / ("memory.limit_in_bytes" if first else "memory.max")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"a memory control group needs more rights ({error.strerror})")
    if not limit_file.exists():
        group.rmdir()
        pytest.skip("the memory controller is not available to a new control group")

    def run(arguments, limit):
        limit_file.write_text(str(limit))
        return subprocess.run(
            arguments, capture_output=True, text=True, check=False,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )  # fmt: skip

    yield run
    wait_until(lambda: not (group / "cgroup.procs").read_text().strip())
    group.rmdir()


@pytest.mark.slow
def test_a_process_that_the_kernel_kills_for_memory_goes_on_with_half_the_micro_batch(
    tmp_path, tiny_model, long_data, measured, memory_group
):
    engine, whole, (large, _), (small, _) = measured
    resumed = first_step(engine, tiny_model, long_data, tmp_path / "run")
    answer = memory_group(resumed, small + (large - small) // 3)
    retries = check_retried(answer, tmp_path / "run", whole)
    print(retries)
    assert "system killed the process for lack of memory" in retries[0]["reason"]
