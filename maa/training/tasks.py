"""Tasks: what each network is shown, and what its loss is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maa.data.pools import healthy_pixels, ma_pixels, pixels_of, rim_pixels
from maa.data.stacks import EX, FOV, HE, MA, MARGIN, SE, ImageStack, gather_scales
from maa.evaluation.curves import average_precision
from maa.evaluation.pixels import PixelScores
from maa.inference.candidates import score_patches
from maa.inference.maps import dense_map
from maa.models.hgn import HGN, to_network
from maa.models.losses import joint_loss
from maa.models.prn import PRN
from maa.models.unet import CLASSES, UNet
from maa.training.augmentation import augment, color_jitter, turn_and_zoom
from maa.training.config import HGNConfig, PRNConfig, UNetConfig
from maa.training.loop import Task
from maa.training.probe import Probe
from maa.training.sampling import SelectiveSampler, draw

#: Share of microaneurysm pixels in the field of view of a diseased photograph.  Training shows five hundred
#: times as many, and says so to the loss (see `added_log_odds`).  Counted on IDRiD's training photographs, rounded.
PRIOR = 0.001


def added_log_odds(shown: float) -> float:
    """By how much a batch raises the log-odds of a lesion over those of a photograph.

    Added to the logits that the loss sees (logit adjustment, Menon et al., ICLR 2021), so that a network's own
    logit is that of a pixel of a photograph: probabilities far from 1, which the maps resolve finely and which
    two networks can be fused by.

    Parameters
    ----------
    shown : float
        Share of microaneurysm patches in a batch.
    """
    return math.log(shown / (1 - shown)) - math.log(PRIOR / (1 - PRIOR))


class HGNTask(Task[HGN]):
    """Train a hypothesis generation network on patches with the label of their centre pixel.

    Parameters
    ----------
    train, validation : ImageStack
        Photographs at the scale of the network.
    config : HGNConfig
        Of each batch half are MA patches, an eighth rim patches and the rest healthy ones; without rims healthy ones take
        their place.

    Notes
    -----
    Half of the patches are lesions where a thousandth of the pixels are: see `added_log_odds`.
    Explained in ch:hgn.
    """

    def __init__(self, train: ImageStack, validation: ImageStack, config: HGNConfig) -> None:
        self.stack, self.config = train, config
        self.pools = {"ma": ma_pixels(train), **_background(train, config)}
        self.shares = shares(config.schedule.batch, self.pools["rim"])
        self.added = added_log_odds(self.shares["ma"] / config.schedule.batch)
        self.probe = Probe(validation)

    def build(self) -> HGN:
        return HGN(self.config.width, self.config.depth)

    def loss(self, model: HGN, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        where = np.concatenate([draw(self.pools[pool], share, rng) for pool, share in self.shares.items()])
        patches = torch.from_numpy(augment(self.stack.gather(where, model.patch_size), rng))
        labels = torch.arange(len(where)) < self.shares["ma"]
        device = next(model.parameters()).device
        logits = model(patches.to(device)).float() + self.added
        return F.binary_cross_entropy_with_logits(logits, labels.to(device, torch.float32)), {}

    def report(self, model: HGN) -> dict[str, float]:
        return {"validation_ap": self.probe.average_precision(model)}


def _background(stack: ImageStack, config: HGNConfig | PRNConfig) -> dict[str, np.ndarray]:
    """The pools of pixels without a lesion that a network is trained on, each of shape (K, 3): rims, if any, and healthy ground."""
    healthy = healthy_pixels(stack, config.pool, np.random.default_rng(config.schedule.seed), config.source)
    return {"rim": rim_pixels(stack) if config.rim else healthy[:0], "healthy": healthy}


def shares(batch: int, rim: np.ndarray) -> dict[str, int]:
    """How many patches of a batch are lesions (half), rims of lesions (an eighth, if there are any) and healthy."""
    counts = {"ma": batch // 2, "rim": batch // 8 if len(rim) else 0}
    return counts | {"healthy": batch - sum(counts.values())}


class PRNTask(Task[PRN]):
    """Train a refinement network on MA patches and selectively sampled healthy ones.

    Parameters
    ----------
    train : tuple of ImageStack
        The same photographs at 1x and at 0.5x.
    config : PRNConfig
        Its pools are of pixels at 1x; the healthy one is sampled selectively.
    hgns : sequence of HGN
        One for each tower, whose trunk the tower starts as; none, and the towers start at random.
    """

    def __init__(self, train: tuple[ImageStack, ImageStack], config: PRNConfig, hgns: Sequence[HGN] = ()) -> None:
        self.stacks, self.config, self.hgns = train, config, hgns
        self.pools = {"ma": ma_pixels(train[0]), **_background(train[0], config)}
        self.shares = shares(config.schedule.batch, self.pools["rim"])
        self.added = added_log_odds(self.shares["ma"] / config.schedule.batch)
        self.sampler = SelectiveSampler(len(self.pools["healthy"]), config.power)
        # Evenly through the training; the first epoch, before the first of them, is uniform.
        moments = np.linspace(0, config.schedule.steps, config.refreshes + 2)[1:-1].round().astype(int)
        self.refresh_at = set(moments.tolist()) - {0} if config.selective else set()

    def build(self) -> PRN:
        c = self.config
        model = PRN(c.width, c.embedding_size, c.depth, c.scales)
        for tower, hgn in zip(model.towers, self.hgns):
            tower.load_state_dict(hgn.trunk.state_dict())
        return model

    def loss(self, model: PRN, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        c, pools = self.config, self.pools
        if step in self.refresh_at:
            model.eval()
            self.sampler.update(score_patches(model, self.stacks, pools["healthy"])[0])
            model.train()
        healthy = pools["healthy"][self.sampler.draw(self.shares["healthy"], rng)]
        where = np.concatenate([*(draw(pools[pool], self.shares[pool], rng) for pool in ("ma", "rim")), healthy])
        patches = augment(gather_scales(self.stacks, where, model.patch_size), rng)
        labels = torch.arange(len(where)) < self.shares["ma"]
        device = next(model.parameters()).device
        logits, embedding = model(torch.from_numpy(patches).to(device))
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        return joint_loss(
            logits.float() + self.added,
            embedding,
            labels.to(device),
            c.triplet_weight,
            c.margin,
            c.distance,
            c.mining,
            generator,
        )

    def report(self, model: PRN) -> dict[str, float]:
        return {"effective_pool": self.sampler.effective_size / len(self.pools["healthy"])}

    def state(self) -> dict[str, Tensor]:
        return {"error": torch.from_numpy(self.sampler.error)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.sampler.update(state["error"].cpu().numpy())


class UNetTask(Task[UNet]):
    """Train a U-Net on crops with a label for every pixel.

    Parameters
    ----------
    train, validation : ImageStack
        Photographs at the scale of the network.
    config : UNetConfig

    Notes
    -----
    Binary cross-entropy of every class inside the field of view, and the Dice loss of the microaneurysms over the
    batch (Milletari et al., 3DV 2016).  Crops are turned by any angle and scaled by 0.8 to 1.25.
    """

    def __init__(self, train: ImageStack, validation: ImageStack, config: UNetConfig) -> None:
        rng = np.random.default_rng(config.schedule.seed)
        self.train, self.validation, self.config = train, validation, config
        self.pools = {
            "ma": ma_pixels(train),
            "other": pixels_of(train, HE | EX | SE),
            "diseased": healthy_pixels(train, config.pool, rng, "unlabelled"),
            "healthy": healthy_pixels(train, config.pool, rng),
        }
        quarter = config.schedule.batch // 4
        self.shares = {"ma": 2 * quarter, "other": quarter // 2, "diseased": quarter - quarter // 2, "healthy": quarter}

    def build(self) -> UNet:
        return UNet(self.config.width)

    def loss(self, model: UNet, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        where = np.concatenate([draw(self.pools[pool], share, rng) for pool, share in self.shares.items()])
        side, zoom = self.config.side, self.config.zoom
        where[:, 1:] += rng.integers(-side // 3, side // 3 + 1, size=(len(where), 2))
        where[:, 1:] = np.clip(where[:, 1:], 0, self.train.shapes[where[:, 0]] - 1)
        room = math.ceil(side * zoom * math.sqrt(2))
        seen, marked = turn_and_zoom(self.train.gather(where, room), self.train.gather_labels(where, room), side, zoom, rng)
        device = next(model.parameters()).device
        crops, labels = torch.from_numpy(color_jitter(seen, rng)).to(device), torch.from_numpy(marked).to(device)
        logits = model(to_network(crops)).float()
        inside = ((labels & FOV) > 0).float()
        truth = torch.stack([(labels & bit) > 0 for bit in CLASSES], dim=1).float()
        cross_entropy = (F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * inside[:, None]).mean(
            dim=(0, 2, 3)
        )
        found = torch.sigmoid(logits[:, 0]) * inside
        dice = 1 - (2 * (found * truth[:, 0]).sum() + 1) / (found.square().sum() + truth[:, 0].sum() + 1)
        loss = cross_entropy.sum() * self.config.cross_entropy_weight + dice
        return loss, {"cross_entropy": cross_entropy[0].detach(), "dice": dice.detach()}

    def report(self, model: UNet) -> dict[str, float]:
        scores = PixelScores()
        for index in np.flatnonzero(self.validation.diseased).tolist():
            label = self.validation.label(index)
            image = self.validation.image(index)[MARGIN:-MARGIN, MARGIN:-MARGIN]
            probability = dense_map(model, image, (label & FOV) > 0, tile=512)
            scores.add(self.validation.names[index], probability, (label & MA) > 0, (label & FOV) > 0)
        return {"validation_ap": average_precision(*scores.pooled())}
