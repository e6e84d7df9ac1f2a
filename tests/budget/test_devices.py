"""Devices by name, and this machine's."""

from __future__ import annotations

import pytest

from common.budget import devices
from common.budget.devices import DEVICES, GIB, find_device, this_device, usable_mac_bytes
from common.errors import UsageError

PROMISED = (
    "t4 l4 a10 a100-40 a100-80 h100 h200 m1-8gb m1-16gb m2-24gb m3-36gb m4-64gb m4-128gb"
)  # fmt: skip


def test_every_promised_device_is_known_with_memory_and_speed():
    assert set(PROMISED.split()) == set(DEVICES)
    for device in DEVICES.values():
        assert 0 < device.usable_bytes <= device.memory_bytes
        assert device.flops_per_second > 1e12
        assert device.engine == ("mlx" if device.kind == "metal" else "cuda")


def test_a_mac_gives_its_gpu_a_share_of_its_memory():
    # Metal's recommended working set: 10,922 MiB on 16 GB, 27 GiB on 36 GB, 48 GiB on 64 GB.
    assert usable_mac_bytes(16 * GIB) // 2**20 == 10_922
    assert usable_mac_bytes(36 * GIB) == 27 * GIB
    assert usable_mac_bytes(64 * GIB) == 48 * GIB


def test_an_unknown_device_is_refused_with_the_names_that_are_known():
    with pytest.raises(UsageError, match=r"'abacus' is unknown\nchoose auto or one of t4, l4"):
        find_device("abacus")


def test_this_machine_is_found_without_importing_an_engine():
    device = this_device()
    assert device.name == "auto"
    assert device.usable_bytes > 0


def test_an_nvidia_gpu_is_recognised_by_what_its_driver_says(monkeypatch):
    monkeypatch.setattr(devices, "is_apple_silicon", lambda: False)
    monkeypatch.setattr(devices.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(devices, "_command_text", lambda *command: "NVIDIA A100-SXM4-40GB, 40960, 8.0")
    found = this_device()
    assert found.flops_per_second == DEVICES["a100-40"].flops_per_second
    assert found.usable_bytes == 40_960 * 2**20
    monkeypatch.setattr(devices, "_command_text", lambda *command: "NVIDIA Unheard Of 9000, 12288, 9.9")
    unknown = this_device()
    assert (unknown.kind, unknown.flops_per_second) == ("cuda", 0.0)


def test_a_t4_is_a_float16_device_also_where_it_is_this_machine(monkeypatch):
    monkeypatch.setattr(devices, "is_apple_silicon", lambda: False)
    monkeypatch.setattr(devices.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(devices, "_command_text", lambda *command: "Tesla T4, 15360, 7.5")
    assert this_device().float16
    assert DEVICES["t4"].float16
    assert not DEVICES["l4"].float16


def test_a_mac_is_recognised_by_its_chip(monkeypatch):
    monkeypatch.setattr(devices, "is_apple_silicon", lambda: True)
    answers = {"hw.memsize": str(24 * GIB), "machdep.cpu.brand_string": "Apple M2"}
    monkeypatch.setattr(devices, "_command_text", lambda *command: answers[command[-1]])
    found = this_device()
    assert (found.engine, found.kind, found.usable_bytes) == ("mlx", "metal", 16 * GIB)
    assert found.flops_per_second == DEVICES["m2-24gb"].flops_per_second
