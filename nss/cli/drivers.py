"""What to install where WebGPU finds no driver, by platform."""

from __future__ import annotations

import sys
from pathlib import Path

NVIDIA = "with an NVIDIA card, NVIDIA's own driver brings Vulkan; the loader is a package of its own:"

LINUX = {
    "debian": [
        "AMD and Intel: sudo apt install mesa-vulkan-drivers libvulkan1",
        f"{NVIDIA} sudo apt install libvulkan1",
    ],
    "fedora": [
        "AMD and Intel: sudo dnf install mesa-vulkan-drivers vulkan-loader",
        f"{NVIDIA} sudo dnf install vulkan-loader",
    ],
    "arch": [
        "AMD: sudo pacman -S vulkan-radeon; Intel: sudo pacman -S vulkan-intel",
        "NVIDIA: sudo pacman -S nvidia-utils vulkan-icd-loader",
    ],
    "suse": [
        "AMD and Intel: sudo zypper install libvulkan1 Mesa-vulkan-drivers",
        f"{NVIDIA} sudo zypper install libvulkan1",
    ],
}
"""By ID or ID_LIKE of /etc/os-release."""

ANY_LINUX = [
    "install a Vulkan driver and the Vulkan loader (libvulkan.so.1)",
    "`vulkaninfo --summary` shows what is there",
]

IN_A_CONTAINER = "in a container, pass the GPU in: --device /dev/dri, or --gpus all with NVIDIA_DRIVER_CAPABILITIES=all"


def advice(platform: str = sys.platform, os_release: Path = Path("/etc/os-release")) -> list[str]:
    """What to do, a line each."""
    if platform == "win32":
        return ["WebGPU runs on Direct3D 12, which Windows 10 and 11 have; update the graphics driver from its maker"]
    if platform == "darwin":
        return ["WebGPU runs on Metal, which is part of macOS; a virtual machine may have no GPU to show"]
    return [*_linux(os_release), IN_A_CONTAINER]


def _linux(os_release: Path) -> list[str]:
    try:
        lines = os_release.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ANY_LINUX
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    family = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    families = (LINUX["suse" if "suse" in name else name] for name in family if name in LINUX or "suse" in name)
    return next(families, ANY_LINUX)
