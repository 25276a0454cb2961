"""How much of its own label a mixed sample keeps, beyond the share of the area."""

from keras import ops


def saliency_weight(own, partner, mask, norm=1):
    """Share of the label by the saliency that is kept and the saliency that is pasted.

        weight = I(S_own, mask) / (I(S_own, mask) + I(S_partner, 1 - mask)),    I(S, M) = ||S M|| / ||S||

    Args:
        own, partner: Saliency of the sample's own image and of the image that is mixed in, (batch, height, width, 1).
        mask: Share of its own image that each location keeps, of the same shape.
        norm: 1 or 2.

    Returns:
        A float32 tensor (batch,): 1 where nothing is pasted; the mean of the mask where nothing salient is kept or
        pasted.
    """
    kept, pasted = covered_share(own, mask, norm), covered_share(partner, 1.0 - mask, norm)
    total = kept + pasted
    return ops.where(total > 0.0, kept / ops.where(total > 0.0, total, 1.0), ops.mean(mask, axis=(1, 2, 3)))


def covered_share(maps, mask, norm=1):
    """Share ||S M|| / ||S|| of the saliency of each map that a mask covers; of the area where S is 0 everywhere.

    Args:
        maps: Float32 tensor (batch, height, width, 1), non-negative.
        mask: Float32 tensor of the same shape in [0, 1].
        norm: 1 or 2.

    Returns:
        A float32 tensor (batch,).
    """
    # Scaled to a maximum of 1, so that squares neither underflow nor overflow.
    maximum = ops.max(maps, axis=(1, 2, 3), keepdims=True)
    maps = ops.where(maximum > 0.0, maps / ops.where(maximum > 0.0, maximum, 1.0), 1.0)
    return _norm(maps * mask, norm) / _norm(maps, norm)


def _norm(maps, norm):
    if norm == 1:
        return ops.sum(maps, axis=(1, 2, 3))
    return ops.sqrt(ops.sum(ops.square(maps), axis=(1, 2, 3)))
