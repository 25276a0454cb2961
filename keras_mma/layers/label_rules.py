"""Rules other than the area for the weight of the label."""

from keras import ops

from keras_mma import plans


def weight_of_mask(mask, height, width, partner, maps, norm, shows_whole_partner):
    """The share of the label by the saliency that a mask keeps and pastes, float32 (batch,).

    Args:
        mask: A mask of `keras_mma.layers.masks`.
        height, width: Size of the images.
        partner: Int32 tensor (batch,).
        maps: Saliency maps of the images.
        norm: 1 or 2.
        shows_whole_partner: Whether all of the partner's image is shown where the mask is 0, though shrunk.
    """
    values, own = mask.rasterize(height, width), plans.moved(maps, mask.own_source)
    # All of the saliency is then pasted. The moved map would repeat its border outside the mask.
    pasted = 1.0 - values if shows_whole_partner else plans.partner_images(maps, partner, source=mask.source)
    return saliency_weight(own, pasted, values, norm)


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


def sumix_weight(weight, clean, mixed, partner):
    """Share of the label by how close the prediction of the mixed sample is to those of the two samples in it.

    With p the class probabilities, c the class that the network predicts for a clean sample, and 1_c its indicator:

        d_own     = |p_mixed - p_own (1 - 1_c_partner)|_2,    d_partner = |p_mixed - p_partner (1 - 1_c_own)|_2
        weight~   = weight e^-d_own / (weight e^-d_own + (1 - weight) e^-d_partner)

    Args:
        weight: Float32 tensor (batch,), the share by area.
        clean, mixed: Predictions (batch, classes) of the clean samples and of the mixed ones: logits, or probabilities.
        partner: Int32 tensor (batch,).

    Returns:
        A float32 tensor (batch,), without gradient.

    Raises:
        ValueError: If there is one class only, for which the two distances are always equal.

    References:
        - H. Qin et al., SUMix: mixup with semantic and uncertain information, ECCV 2024, arXiv:2407.07805: the ratio of
          the shares. The distance is a reconstruction.
    """
    if clean.shape[1] == 1:
        raise ValueError(
            "`label='sumix'` must have predictions of at least two classes: use two outputs and a categorical loss. "
            f"Received: predictions of shape {tuple(clean.shape)}"
        )
    own, mixed = _probabilities(clean), _probabilities(mixed)
    other = plans.take_partner(own, partner)
    kept = weight * ops.exp(-_distance(mixed, own, other))
    pasted = (1.0 - weight) * ops.exp(-_distance(mixed, other, own))
    return ops.stop_gradient(kept / (kept + pasted))


def _distance(mixed, sample, other):
    """Distance of the mixed prediction to that of a sample in which the class of the other sample is left out."""
    others_class = ops.one_hot(ops.argmax(other, axis=1), other.shape[1], dtype="float32")
    return ops.sqrt(ops.sum(ops.square(mixed - sample * (1.0 - others_class)), axis=1))


def _probabilities(predictions):
    predictions = ops.stop_gradient(ops.cast(predictions, "float32"))
    total = ops.sum(predictions, axis=1)
    is_one = ops.logical_and(ops.abs(total - 1.0) < 1e-2, ops.all(predictions >= 0.0, axis=1))
    # A sample with NaN must not decide for the others.
    are_probabilities = ops.all(ops.logical_or(is_one, ops.logical_not(ops.isfinite(total))))
    return ops.where(are_probabilities, predictions, ops.softmax(predictions, axis=1))
