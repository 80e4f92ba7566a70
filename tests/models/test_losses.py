import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maa.models import MINERS, count_triplets, joint_loss, pairwise_distance, triplet_loss
from maa.models.losses import soft_triplet_loss

torch.set_num_threads(1)

MARGINS = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.1, 1.4, 1.7, 2.0]


def circle(n=16, seed=0):
    """Points on the unit circle at uneven angles, two classes, as float64."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.linspace(0, 2 * math.pi, n + 1, dtype=torch.float64)[:-1]
    angle = angle + 0.1 * torch.rand(n, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (n,), generator=generator)
    return torch.stack([angle.cos(), angle.sin()], 1), labels


def triple_loop(distances, labels):
    for a, p, n in itertools.product(range(len(labels)), repeat=3):
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]:
            yield a, p, n, float(distances[a, p]), float(distances[a, n])


def as_set(indices):
    return set(zip(*(i.tolist() for i in indices)))


def looped_distances(x, distance):
    if distance == "euclidean":
        return torch.stack([torch.stack([(a - b).norm() for b in x]) for a in x])
    return torch.stack([torch.stack([1 - a @ b / (a.norm() * b.norm()) for b in x]) for a in x])


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_distances_equal_a_loop(distance):
    x = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pairwise_distance(x, distance), looped_distances(x, distance))


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_miners_and_losses_equal_a_triple_loop(margin, distance):
    x, labels = circle()
    d = pairwise_distance(x, distance)
    triplets = list(triple_loop(d, labels))
    assert count_triplets(labels) == len(triplets)

    semi_hard = {(a, p, n): ap - an + margin for a, p, n, ap, an in triplets if ap < an < ap + margin}
    assert as_set(MINERS["semi-hard"](d, labels, margin)) == set(semi_hard)
    loss, active = triplet_loss(x, labels, margin, distance, "semi-hard")
    assert float(loss) == pytest.approx(sum(semi_hard.values()) / max(1, len(semi_hard)))
    assert float(active) == pytest.approx(len(semi_hard) / len(triplets))

    hardest = []
    for anchor in range(len(labels)):
        own = [t for t in triplets if t[0] == anchor]
        hardest.append(max(t[3] for t in own) - min(t[4] for t in own) + margin)
    violating = [v for v in hardest if v > 0]
    loss, active = triplet_loss(x, labels, margin, distance, "batch-hard")
    assert float(loss) == pytest.approx(sum(violating) / max(1, len(violating)))
    assert float(active) == pytest.approx(len(violating) / len(hardest))


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("mining", ["semi-hard", "batch-hard"])
def test_equal_to_pytorch_metric_learning(margin, distance, mining):
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    from pytorch_metric_learning import losses, miners

    if distance == "euclidean":
        theirs = distances.LpDistance(normalize_embeddings=False, p=2)
    else:
        theirs = distances.CosineSimilarity()
    x, labels = circle(seed=3)
    miner = (
        miners.TripletMarginMiner(margin, "semihard", distance=theirs)
        if mining == "semi-hard"
        else miners.BatchHardMiner(distance=theirs)
    )
    indices = miner(x, labels)
    assert as_set(MINERS[mining](pairwise_distance(x, distance), labels, margin)) == as_set(indices)

    ours, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, _ = triplet_loss(ours, labels, margin, distance, mining)
    # An empty triple of index tensors means to them "use every triplet", so that case has no counterpart.
    if len(indices[0]) == 0:
        assert float(loss) == 0
        return
    expected = losses.TripletMarginLoss(margin, distance=theirs)(other, labels, indices)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, other.grad)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_semi_hard_triplets_that_are_counted_give_what_a_list_of_them_gives(distance):
    """In float32, of three classes, with two embeddings that coincide."""
    generator = torch.Generator().manual_seed(7)
    x, labels = torch.randn(90, 8, generator=generator), torch.randint(0, 3, (90,), generator=generator)
    x[1] = x[0]
    ours, listed = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, active = triplet_loss(ours, labels, 0.4, distance, "semi-hard")
    distances = pairwise_distance(listed, distance)
    anchor, positive, negative = MINERS["semi-hard"](distances.detach(), labels, 0.4)
    expected = (distances[anchor, positive] - distances[anchor, negative] + 0.4).mean()
    assert len(anchor) > 10_000 and loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(active, torch.tensor(len(anchor) / count_triplets(labels)))
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, listed.grad, rtol=1e-4, atol=1e-7)


@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=24), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_every_miner_returns_valid_triplets(labels, seed):
    labels = torch.tensor(labels)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(labels), 3, generator=generator)
    usable = {a for a, *_ in triple_loop(torch.zeros(len(labels), len(labels)), labels)}
    for name, mine in MINERS.items():
        anchor, positive, negative = mine(pairwise_distance(x), labels, 0.5, generator)
        assert anchor.dtype == torch.int64
        assert (labels[anchor] == labels[positive]).all() and (anchor != positive).all()
        assert (labels[anchor] != labels[negative]).all()
        if name != "semi-hard":
            assert anchor.tolist() == sorted(usable)


def test_random_mining_is_repeatable_and_uniform():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    d = torch.zeros(9, 9)

    def draws(seed, times):
        generator = torch.Generator().manual_seed(seed)
        return [MINERS["random"](d, labels, 0.1, generator) for _ in range(times)]

    assert all(torch.equal(a, b) for a, b in zip(draws(5, 1)[0], draws(5, 1)[0]))
    assert any(not torch.equal(a, b) for a, b in zip(draws(5, 1)[0], draws(6, 1)[0]))
    many = draws(0, 3000)
    positives = torch.stack([p[0] for _, p, _ in many]).bincount(minlength=9)
    negatives = torch.stack([n[0] for _, _, n in many]).bincount(minlength=9)
    assert positives[[0, 4, 5, 6, 7, 8]].sum() == 0 and negatives[:4].sum() == 0
    # Five standard deviations of a binomial count.
    assert (positives[1:4] - 1000).abs().max() < 5 * math.sqrt(3000 / 3 * 2 / 3)
    assert (negatives[4:] - 600).abs().max() < 5 * math.sqrt(3000 / 5 * 4 / 5)


def test_random_loss_averages_over_violating_triplets_only():
    x = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    labels = torch.tensor([0, 0, 1, 1])
    # One positive each, so with two negatives the draw decides; the expectation follows from the indices.
    a, p, n = MINERS["random"](None, labels, 1.0, torch.Generator().manual_seed(2))
    values = ((x[a] - x[p]).abs() - (x[a] - x[n]).abs() + 1.0).squeeze(1)
    assert (values > 0).any() and (values <= 0).any()
    loss, active = triplet_loss(x, labels, 1.0, mining="random", generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(loss, values[values > 0].mean())
    torch.testing.assert_close(active, (values > 0).float().mean())


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("mining", MINERS)
def test_gradients_in_float64(distance, mining):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(10, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 1] * 5)
    logits = torch.randn(10, dtype=torch.float64, generator=generator, requires_grad=True)

    def loss(logits, x):
        return joint_loss(logits, x, labels, 0.7, 1.0, distance, mining, torch.Generator().manual_seed(0))[0]

    assert loss(logits, x).item() > 0
    assert torch.autograd.gradcheck(loss, (logits, x))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("mining", MINERS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_nan_gradient_when_all_embeddings_coincide(distance, mining, value):
    x = torch.full((6, 3), value, requires_grad=True)
    loss, _ = triplet_loss(x, torch.tensor([0, 1] * 3), 0.2, distance, mining)
    loss.backward()
    assert torch.isfinite(x.grad).all()


def test_collapse_under_batch_hard_mining_leaves_the_loss_at_the_margin():
    loss, active = triplet_loss(torch.ones(8, 3), torch.tensor([0, 1] * 4), 0.3, mining="batch-hard")
    assert float(loss) == pytest.approx(0.3) and float(active) == 1


@pytest.mark.parametrize("mining", MINERS)
@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], [0]])
def test_a_single_class_gives_zero_loss_with_a_graph(mining, labels):
    x = torch.randn(len(labels), 4, requires_grad=True)
    loss, active = triplet_loss(x, torch.tensor(labels), 0.2, mining=mining)
    assert loss.item() == 0 and active.item() == 0
    loss.backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_boolean_labels_count_as_classes():
    x, labels = circle(8)
    for mining in ("semi-hard", "batch-hard"):
        torch.testing.assert_close(
            triplet_loss(x, labels.bool(), 0.5, mining=mining), triplet_loss(x, labels, 0.5, mining=mining)
        )


def test_joint_loss_is_the_weighted_sum_of_its_parts():
    x, labels = circle()
    logits = torch.linspace(-2, 2, len(labels), dtype=torch.float64)
    p = torch.sigmoid(logits)
    by_hand = -torch.where(labels == 1, p.log(), (1 - p).log()).mean()
    loss, parts = joint_loss(logits, x, labels, 0.25, 0.5)
    triplet, active = triplet_loss(x, labels, 0.5)
    torch.testing.assert_close(parts["cross_entropy"], by_hand)
    torch.testing.assert_close(parts["triplet"], triplet)
    torch.testing.assert_close(parts["active"], active)
    torch.testing.assert_close(loss, by_hand + 0.25 * triplet)


def test_weight_zero_measures_the_triplet_loss_without_training_on_it():
    x, labels = circle()
    x.requires_grad_()
    logits = torch.zeros(len(labels), dtype=torch.float64, requires_grad=True)
    loss, parts = joint_loss(logits, x, labels, 0.0, 0.5)
    loss.backward()
    assert x.grad is None and logits.grad is not None
    assert float(parts["triplet"]) > 0
    torch.testing.assert_close(loss, parts["cross_entropy"])


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_mixed_precision_keeps_distances_in_float32(distance):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 6, generator=generator).bfloat16()
    labels = torch.tensor([0, 1] * 6)
    logits = torch.randn(12, generator=generator)
    outside = joint_loss(logits, x.float(), labels, 1.0, 0.5, distance)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert pairwise_distance(x, distance).dtype == torch.float32
        inside = joint_loss(logits, x, labels, 1.0, 0.5, distance)[0]
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(mining="hardest"), "mining"),
        (dict(distance="manhattan"), "distance"),
        (dict(margin=0.0), "margin"),
        (dict(labels=torch.zeros(3)), "Labels"),
        (dict(embedding=torch.zeros(4)), "embedding"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = dict(embedding=torch.zeros(4, 2), labels=torch.tensor([0, 1, 0, 1]))
    with pytest.raises(ValueError, match=message):
        triplet_loss(**(arguments | change))


def test_bad_joint_arguments_are_named():
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="weight"):
        joint_loss(torch.zeros(2), torch.zeros(2, 2), labels, -1)
    with pytest.raises(ValueError, match="Logits"):
        joint_loss(torch.zeros(2, 1), torch.zeros(2, 2), labels, 1)


# --- what must stay, or move in a known way, when the batch is changed ----------------------------


batches = st.tuples(st.integers(0, 2**16), st.integers(2, 14), st.sampled_from(["euclidean", "cosine"]))


def random_batch(seed, size):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 3, dtype=torch.float64, generator=generator)
    return x, torch.randint(0, 2, (size,), generator=generator), torch.randn(size, dtype=torch.float64, generator=generator)


@given(batches, st.sampled_from(["semi-hard", "batch-hard"]), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_batch_does_not_matter(batch, mining, random):
    seed, size, distance = batch
    x, labels, logits = random_batch(seed, size)
    order = list(range(size))
    random.shuffle(order)
    before = joint_loss(logits, x, labels, 0.5, 0.4, distance, mining)
    after = joint_loss(logits[order], x[order], labels[order], 0.5, 0.4, distance, mining)
    torch.testing.assert_close(after, before)
    assert count_triplets(labels[order]) == count_triplets(labels)
    permuted = pairwise_distance(x, distance)[order][:, order]
    torch.testing.assert_close(pairwise_distance(x[order], distance), permuted)


@given(batches, st.sampled_from(["semi-hard", "batch-hard"]), st.sampled_from([0.25, 2.0, 8.0]))
@settings(max_examples=25, deadline=None)
def test_moved_mirrored_and_scaled_embeddings(batch, mining, scale):
    seed, size, _ = batch
    x, labels, _ = random_batch(seed, size)
    loss, active = triplet_loss(x, labels, 0.4, "euclidean", mining)
    torch.testing.assert_close(triplet_loss(x.flip(1) + 3, labels, 0.4, "euclidean", mining), (loss, active))
    torch.testing.assert_close(triplet_loss(x * scale, labels, 0.4 * scale, "euclidean", mining), (loss * scale, active))
    cosine = triplet_loss(x, labels, 0.4, "cosine", mining)
    torch.testing.assert_close(triplet_loss(x * scale, labels, 0.4, "cosine", mining), cosine)
    # Neither class is the first.
    torch.testing.assert_close(triplet_loss(x, 1 - labels, 0.4, "euclidean", mining), (loss, active))


def test_a_batch_that_is_counted_by_hand():
    x = torch.tensor([[0.0], [1.0], [1.25], [4.0]])
    labels = torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(pairwise_distance(x)[0], torch.tensor([0.0, 1.0, 1.25, 4.0]))
    # Hardest: 1 - 1.25, 1 - 0.25, 2.75 - 0.25 and 2.75 - 3, each plus the margin.
    loss, active = triplet_loss(x, labels, 0.5)
    assert float(loss) == pytest.approx((0.25 + 1.25 + 3.0 + 0.25) / 4) and float(active) == 1
    # Violating only above zero: with a margin of 0.25 the first and the last are at it.
    loss, active = triplet_loss(x, labels, 0.25)
    assert float(loss) == pytest.approx((1.0 + 2.75) / 2) and float(active) == 0.5
    # Semi-hard within 0.5: (0, 1, 2) at 1 < 1.25 and (3, 2, 1) at 2.75 < 3, of 8 triplets.
    assert as_set(MINERS["semi-hard"](pairwise_distance(x), labels, 0.5)) == {(0, 1, 2), (3, 2, 1)}
    loss, active = triplet_loss(x, labels, 0.5, mining="semi-hard")
    assert float(loss) == pytest.approx(0.25) and float(active) == pytest.approx(2 / 8) and count_triplets(labels) == 8
    # The default margin is 0.2, the default distance Euclidean, the default mining batch-hard.
    assert float(triplet_loss(x, labels)[0]) == pytest.approx((0.95 + 2.7) / 2)
    assert float(joint_loss(torch.zeros(4), x, labels, 2.0)[0]) == pytest.approx(math.log(2) + 2 * (0.95 + 2.7) / 2)


def test_semi_hard_leaves_out_both_borders():
    x = torch.tensor([[0.0], [1.0], [1.0], [1.5]])
    labels = torch.tensor([0, 0, 1, 2])
    found = as_set(MINERS["semi-hard"](pairwise_distance(x), labels, 0.5))
    assert found == set()  # d(a, n) = d(a, p) from 0 to 2; d(a, n) = d(a, p) + margin from 0 to 3


def test_zero_vectors_have_a_cosine_distance():
    x = torch.tensor([[0.0, 0.0], [1e-9, 0.0], [2.0, 0.0], [0.0, 5.0]])
    distances = pairwise_distance(x, "cosine")
    assert torch.isfinite(distances).all() and float(distances[0, 2]) == 1 and float(distances[2, 3]) == pytest.approx(1)
    assert float(distances[1, 2]) == pytest.approx(1 - 1e-3)  # lengths below a millionth count as that
    assert float(distances[2, 2]) == pytest.approx(0)


def test_no_gradient_is_made_where_none_is_wanted():
    x, labels = circle()
    x.requires_grad_()
    logits = torch.zeros(len(labels), dtype=torch.float64, requires_grad=True)
    loss, parts = joint_loss(logits, x, labels, 0.5, 0.5)
    assert loss.requires_grad and not any(part.requires_grad for part in parts.values())
    with torch.no_grad():
        assert not joint_loss(logits, x, labels, 0.5, 0.5)[0].requires_grad


def test_a_single_violating_triplet_is_not_shared_with_the_others():
    # Anchors 0 and 1 have one triplet each: 1 - 1.6 + 0.5 and 1 - 0.6 + 0.5.
    loss, active = triplet_loss(torch.tensor([[0.0], [1.0], [1.6]]), torch.tensor([0, 0, 1]), 0.5)
    assert float(loss) == pytest.approx(0.9) and float(active) == 0.5


def test_the_soft_triplet_loss_takes_its_positives_from_other_photographs():
    rng = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(12, 5, generator=rng), dim=1)
    labels, photographs = torch.arange(12) < 5, torch.arange(12) % 3
    distance = torch.cdist(points, points)
    expected, wrong = [], 0
    for a in range(12):
        positives = [p for p in range(12) if labels[p] == labels[a] and photographs[p] != photographs[a]]
        negatives = [n for n in range(12) if labels[n] != labels[a]]
        gap = max(distance[a, p] for p in positives) - min(distance[a, n] for n in negatives)
        expected.append(torch.log1p(torch.exp(gap)))
        wrong += gap > 0
    loss, active = soft_triplet_loss(points, labels, photographs)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)
    assert active.item() == pytest.approx(wrong.item() / 12)


def test_a_batch_of_one_photograph_has_no_soft_triplet():
    points = torch.randn(6, 3, requires_grad=True)
    loss, active = soft_triplet_loss(points, torch.arange(6) < 3, torch.zeros(6, dtype=torch.int64))
    loss.backward()
    assert loss.item() == active.item() == 0 and not points.grad.any()


def test_the_mean_over_one_semi_hard_triplet_is_its_violation():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.1, 0.0]])
    loss, active = triplet_loss(points, torch.tensor([0, 0, 1]), 0.2, mining="semi-hard")
    assert loss.item() == pytest.approx(0.1, abs=1e-6) and active.item() == 0.5


def test_where_all_coincide_the_soft_margin_still_pushes_and_no_triplet_is_wrong():
    loss, active = soft_triplet_loss(torch.zeros(4, 2), torch.tensor([1, 1, 0, 0]), torch.tensor([0, 1, 0, 1]))
    assert loss.item() == pytest.approx(math.log(2)) and active.item() == 0
