"""Models: the three networks, what they learn by, and their weights on disk.  Nothing here knows how they are trained."""

from maa.models.hgn import DEPTH, HGN, LAST_STRIDE, LAYERS, Trunk, to_network
from maa.models.losses import (
    MINERS,
    count_triplets,
    joint_loss,
    mine_batch_hard,
    mine_random,
    mine_semi_hard,
    pairwise_distance,
    triplet_loss,
)
from maa.models.prn import PRN
from maa.models.unet import CLASSES, CONTEXT, WIDTHS, UNet
from maa.models.weights import load_weights, network_fingerprint, save_weights

__all__ = [
    "CLASSES",
    "CONTEXT",
    "DEPTH",
    "HGN",
    "LAST_STRIDE",
    "LAYERS",
    "MINERS",
    "PRN",
    "Trunk",
    "UNet",
    "WIDTHS",
    "count_triplets",
    "joint_loss",
    "load_weights",
    "mine_batch_hard",
    "mine_random",
    "mine_semi_hard",
    "network_fingerprint",
    "pairwise_distance",
    "save_weights",
    "to_network",
    "triplet_loss",
]
