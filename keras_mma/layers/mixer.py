"""The base of all hosts: what comes in, what goes out, who is mixed with whom. Subclasses only draw masks."""

import contextlib

import keras
from keras import ops

from keras_mma import labels as label_encoding
from keras_mma import plan as plans
from keras_mma import sampling
from keras_mma.backend import is_of_another_backend, op_by_op
from keras_mma.layers import arguments, batches, masks, partners

#: Pixels of an image from which a network no longer hides what its mixing takes op by op.
WORTH_COMPILING = 64 * 64


class Mixer(keras.layers.Layer):
    """Base of the layers that mix a batch of images with itself and draw the plan of it.

    A subclass implements `draw(images, partner, maps)`, and `look(images)` if it needs saliency maps. Everything else
    is here: the forms of the input, partners, the rows that are left alone, the site that fires, labels, sample weights
    and segmentation masks.

    Args:
        probability: Share of rows that are mixed, in [0, 1]. Drawn for each row.
        sites: The mixing points among which each step draws one, uniformly: 0 is the input, k is
            `FeatureMixAdapt(site=k)`. Labelled batches are mixed at once and take `sites=(0,)`, the default.
        partner: Who is mixed with whom: `"shuffle"` (a random permutation) or `"roll"` (the row before: no draw, and as
            random as the order of the batch). Hosts that look at the images also take `"distance"`. In a batch that is
            spread over devices, partners are always on the same device.
        num_classes: Number of classes, by which integer labels of a labelled batch are one-hot encoded.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        seed: Int that makes the draws repeatable.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        images: A model's images, (batch, height, width, channels) of any integer or float dtype and any range; or a
            labelled batch: a tuple `(images, labels)` or `(images, labels, sample_weight)`, or a dict with the keys
            `"images"`, `"labels"` and, optionally, `"sample_weight"` (batch,) and `"segmentation_masks"`
            (batch, height, width) or (batch, height, width, channels).
        labels: The labels, where they come as an argument of their own: one-hot or soft (batch, classes), or
            integers (batch,) or (batch, 1); or a structure of them.
        sample_weight: (batch,), likewise.
        training: Whether to mix. By default images alone are mixed only inside the training of a model, a labelled
            batch always.

    Returns:
        For images alone, `(images, plan)`: the images of the same shape and dtype, mixed if the input is the site
        that fires, and the plan (see `keras_mma.plan`). For a labelled batch, the batch in the form in which it
        came, its labels and sample weights float32.

    Raises:
        ValueError: for an argument out of range, images that are not of rank 4, labels of another form,
            integer labels without `num_classes`, or a dict with keys that are not known.
    """

    #: Whether every mask holds only 0 and 1, so that class numbers of segmentation masks can follow it.
    has_binary_mask = True

    PARTNERS = ("shuffle", "roll")

    def __init__(
        self,
        probability=1.0,
        sites=(0,),
        partner="shuffle",
        num_classes=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        # A plan must stay float32 and int32 whatever the precision policy.
        super().__init__(autocast=False, **kwargs)
        self.probability = arguments.fraction("probability", probability)
        self.sites = arguments.sites(sites)
        self.partner = arguments.one_of("partner", partner, self.PARTNERS)
        if num_classes is not None:
            num_classes = arguments.whole("num_classes", num_classes, 1)
        self.num_classes = num_classes
        self.data_format = arguments.data_format(data_format)
        self.seed = seed
        self.seed_generator = sampling.SeedGenerator(seed)

    def __call__(self, *args, **kwargs):
        if is_of_another_backend(args, kwargs):
            raise ValueError(
                f"{type(self).__name__} cannot run in a `tf.data` pipeline on the {keras.backend.backend()} backend: "
                "put it into the model (`MixModel`, `mixify`) or call it on the batches that leave the pipeline. "
                "Received: a symbolic TensorFlow tensor"
            )
        return super().__call__(*args, **kwargs)

    def look(self, images):
        """Saliency maps (batch, height, width, 1), or `None` from hosts that do without."""
        return None

    def draw(self, images, partner, maps):
        """Draw the masks of a batch.

        Args:
            images: The images, in the layer's data format.
            partner: Int32 tensor (batch,).
            maps: What `look(images)` returned.

        Returns:
            A dict with the mask in one of its forms (see `keras_mma.layers.masks`): `mask`, float32
            (batch, height, width, 1); `share`, float32 (batch,), the same everywhere; or `box`, which is pasted.
            Optionally `weight`, float32 (batch,), the mask's mean by default; and optionally `shift`, integers
            (batch, 2), by which the partner's image is moved before it is mixed in.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `draw(images, partner, maps)`.")

    def call(self, images, labels=None, sample_weight=None, training=None):
        batch, write = batches.read(images, labels, sample_weight)
        self._check_images(batch["images"])
        if "labels" not in batch:
            return self._call_unlabelled(batch["images"], training)
        batch = self._encode_labels(batch)
        self._check_labelled(batch)
        if training is None or training:
            batch = self._mix_labelled(batch)
        return write(batch)

    def compute_output_spec(self, images, labels=None, sample_weight=None, training=None):
        batch, write = batches.read(images, labels, sample_weight)
        images = batch["images"]
        self._check_images(images)
        if "labels" not in batch:
            plan = plans.spec(images.shape[0], *self._size(images.shape))
            return keras.KerasTensor(images.shape, images.dtype), plan
        batch = self._encode_labels(batch)
        self._check_labelled(batch)
        for name in ("labels", "sample_weight"):
            if name in batch:
                batch[name] = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, "float32"), batch[name])
        return write(batch)

    def get_config(self):
        return {
            **super().get_config(),
            "probability": self.probability,
            "sites": list(self.sites),
            "partner": self.partner,
            "num_classes": self.num_classes,
            "data_format": self.data_format,
            "seed": self.seed,
        }

    def draw_partner(self, size, maps):
        """The partner of each row, int32 (batch,)."""
        return partners.roll(size) if self.partner == "roll" else partners.shuffle(size, self.seed_generator)

    # Keras leaves seed states out of its files; with them a resumed training goes on with new draws.
    def save_own_variables(self, store):
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        self.seed_generator.state.assign(store["seed_state"][...])

    def copy(self, **changes):
        """A layer like this one, with some arguments changed."""
        return type(self)(**{**self.get_config(), **changes})

    def image_size(self, images):
        """Number of rows, height and width of a batch, static where they are known."""
        shape = ops.shape(images)
        return shape[0], *self._size(shape)

    def to_channels_last(self, images):
        """The images with their channels last, as detectors take them."""
        return images if self.data_format == "channels_last" else ops.transpose(images, (0, 2, 3, 1))

    def _call_unlabelled(self, images, training):
        if not training:
            return images, plans.unmixed(*self.image_size(images))
        _, height, width = self.image_size(images)
        is_small = isinstance(height, int) and isinstance(width, int) and height * width < WORTH_COMPILING
        with op_by_op() if is_small else contextlib.nullcontext():
            return self._mix_unlabelled(images)

    def _mix_unlabelled(self, images):
        plan, drawn = self._draw_plan(images, self._draw_site())

        def mix():
            return self._mix_images(images, plan, drawn)

        if 0 not in self.sites:
            return images, plan
        if self.sites == (0,):
            return mix(), plan
        return ops.cond(plan["site"] == 0, mix, lambda: images), plan

    def _mix_labelled(self, batch):
        plan, drawn = self._draw_plan(batch["images"], 0)
        mixed = {"images": self._mix_images(batch["images"], plan, drawn)}
        mixed["labels"] = keras.tree.map_structure(lambda y: plans.mix_labels(y, plan), batch["labels"])
        if "sample_weight" in batch:
            mixed["sample_weight"] = keras.tree.map_structure(
                lambda weight: plans.mix_sample_weight(weight, plan), batch["sample_weight"]
            )
        if "segmentation_masks" in batch:
            mixed["segmentation_masks"] = plans.mix_segmentation_masks(
                batch["segmentation_masks"], plan, drawn.get("shift")
            )
        return mixed

    def _mix_images(self, images, plan, drawn):
        return masks.mix(images, plan["partner"], drawn, self.data_format)

    def _draw_plan(self, images, site):
        """Everything random happens here. The plan, and what the host drew for it."""
        size, height, width = self.image_size(images)
        maps = self.look(images)
        partner = self.draw_partner(size, maps)
        drawn = self.draw(images, partner, maps)
        if self.probability < 1.0:
            drawn = masks.keep_unmixed(drawn, sampling.bernoulli((size,), self.probability, self.seed_generator))
        mask, weight, is_unmixed = masks.describe(drawn, height, width)
        return plans.make(partner, mask, weight, site, is_unmixed), drawn

    def _draw_site(self):
        if len(self.sites) == 1:
            return self.sites[0]
        drawn = sampling.uniform((), self.seed_generator, maxval=float(len(self.sites)))
        index = ops.minimum(ops.cast(drawn, "int32"), len(self.sites) - 1)
        return ops.take(ops.convert_to_tensor(self.sites, "int32"), index, axis=0)

    def _size(self, shape):
        return (shape[1], shape[2]) if self.data_format == "channels_last" else (shape[2], shape[3])

    def _check_images(self, images):
        if len(images.shape) != 4:
            raise ValueError(
                f"`images` must be a batch of rank 4 ({self.data_format}). Received: shape {tuple(images.shape)}"
            )

    def _check_labelled(self, batch):
        if self.sites != (0,):
            raise ValueError(
                "`sites` must be (0,) for a labelled batch, which is mixed before it reaches a network. "
                f"Received: sites={self.sites}"
            )
        rows = batch["images"].shape[0]
        for name in ("labels", "sample_weight"):
            for leaf in keras.tree.flatten(batch.get(name)):
                if leaf is not None and None not in (rows, leaf.shape[0]) and leaf.shape[0] != rows:
                    raise ValueError(
                        f"`{name}` must have as many rows as `images`: expected {rows}. "
                        f"Received: shape {tuple(leaf.shape)}"
                    )
        if "segmentation_masks" in batch:
            self._check_segmentation_masks(batch["segmentation_masks"], batch["images"])

    def _check_segmentation_masks(self, masks, images):
        shape = tuple(masks.shape)
        expected = (images.shape[0], *self._size(images.shape))
        fits = len(shape) in (3, 4) and all(
            None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=False)
        )
        if not fits:
            raise ValueError(
                "`segmentation_masks` must be of shape (batch, height, width) or (batch, height, width, channels) "
                f"with the images' {expected}. Received: shape {shape}"
            )
        if not self.has_binary_mask and not keras.backend.is_float_dtype(masks.dtype):
            raise ValueError(
                f"`segmentation_masks` must be float class shares (one-hot) for {type(self).__name__}, whose mask "
                "blends: class numbers cannot be blended. "
                f"Received: dtype {keras.backend.standardize_dtype(masks.dtype)}"
            )

    def _encode_labels(self, batch):
        encoded = keras.tree.map_structure(lambda leaf: label_encoding.encode(leaf, self.num_classes), batch["labels"])
        return {**batch, "labels": encoded}
