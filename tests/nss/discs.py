"""Discs with a known edge, and where the edge of a mask lies by the angle."""

from __future__ import annotations

import numpy as np

RAYS = 360


def soft_disc(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """float32 ``size`` x ``size``: a disc with an edge of about 2.6 pixels from 10 to 90 %."""
    y, x = np.mgrid[:size, :size]
    distance = radius - np.hypot(y - centre[0], x - centre[1])
    return (1 / (1 + np.exp(-distance / 0.6))).astype(np.float32)


def hard_disc(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """float32 ``size`` x ``size``: a disc of which each pixel shows the part that it covers, to 1/256."""
    y, x = np.mgrid[:size, :size]
    covered = np.zeros((size, size))
    parts = (np.arange(16) + 0.5) / 16 - 0.5
    for down in parts:
        for right in parts:
            covered += np.hypot(y + down - centre[0], x + right - centre[1]) <= radius
    return (covered / parts.size**2).astype(np.float32)


def edge_radii(mask: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """For ``RAYS`` directions, how far from the centre the mask comes to one half."""
    along, rays = _rays(mask, centre)
    outside = np.argmax(rays < 0.5, axis=1)
    index = np.arange(len(rays))
    inner, outer = rays[index, outside - 1], rays[index, outside]
    return along[outside - 1] + (inner - 0.5) / (inner - outer) * (along[1] - along[0])


def sector_radii(mask: np.ndarray, centre: tuple[float, float], rays: int = 10) -> np.ndarray:
    """For sectors of that many rays, the radius of the disc that holds as much of the mask."""
    along, values = _rays(mask, centre)
    areas = 2 * (values * along).sum(axis=1) * (along[1] - along[0])
    return np.sqrt(areas.reshape(-1, rays).mean(axis=1))


def _rays(mask: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances, and the mask there for each ray, interpolated between its pixels."""
    along = np.arange(0.05, len(mask) / 2 - 3, 0.1)
    angles = np.arange(RAYS)[:, None] * (2 * np.pi / RAYS)
    y, x = centre[0] + along * np.sin(angles), centre[1] + along * np.cos(angles)
    top, left = y.astype(int), x.astype(int)
    down, right = y - top, x - left
    upper = mask[top, left] * (1 - right) + mask[top, left + 1] * right
    lower = mask[top + 1, left] * (1 - right) + mask[top + 1, left + 1] * right
    return along, upper * (1 - down) + lower * down
