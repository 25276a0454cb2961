"""The base of all mixers."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_mma import plans, sampling
from keras_mma.backend import compiled_once, xla_if_it_pays_off
from keras_mma.layers import arguments, configs, input_forms, label_rules, labeled_batches, masks, pairing
from keras_mma.saliency import detectors


class Mixer(sampling.SeededLayer):
    """Base of the layers that mix the images of a batch with each other and draw the plan for it.

    A subclass implements `sample_mask(images, partner, maps)`. The base reads the batch, computes saliency, pairs the
    samples, leaves samples unmixed by `probability`, draws the site, and mixes images, labels, sample weights and
    segmentation masks; those of class indices only if the subclass sets `has_binary_mask = True`.

    Args:
        probability: Probability in [0, 1] with which each sample is mixed. It can be changed between steps.
        sites: Sites of which each step draws one, uniformly: 0 is the input, k is `FeatureMixAdapt(site=k)`. Labeled
            batches are mixed at the input and require `sites=(0,)`, the default.
        site_weights: Relative frequency of each site, positive numbers in the order of `sites`; equal by default.
        partner: How samples are paired: `"shuffle"` (a random permutation, in which one sample of a batch is on average
            its own partner), `"derangement"` (a random cycle through the batch, in which none is), `"roll"` (the
            previous sample; nothing is drawn, so it is as random as the order of the batch), or, with a detector,
            `"distance"` (a greedy cycle from each image to the one whose saliency is farthest). In a batch that is
            sharded over devices, partners are on the same device.
        detector: Saliency detector, for mixers that need one: `"fine_grained"`, `"spectral_residual"`,
            `"smooth_spectral_residual"`, `"frequency_tuned"`, a name registered with `keras_mma.saliency.register`, or
            a callable from images (batch, height, width, channels) to maps (batch, height, width, 1), which may be a
            layer that is built and frozen; inside a `MixModel`, also an attribution of the network being trained:
            `"activation"` or `"gradient"`.
        detector_size: Height and width in pixels at which the detector works; by default those of the images. An
            attribution passes images of this size through the network, which must accept it.
        attribution_layer: Name of the layer whose activation is the saliency for `detector="activation"`; by default
            the last layer that returns feature maps.
        label: `"area"`: a sample keeps the share of its label that the mask keeps of its image. `"saliency"`: the share
            of saliency that is kept, relative to what is kept and pasted. `"sumix"`: the share of the area, weighted by
            how close the network's predictions of the mixed and the clean samples are; in a `MixModel` only.
        num_classes: Number of classes, to one-hot encode the integer labels of labeled batches.
        ignore_zero_weight: Whether samples with a sample weight of 0 are neither mixed nor chosen as partners, so that
            nothing of them reaches the loss. Requires labeled batches with sample weights.
        requires_mix_model: Whether the mixer raises an error in a model that is not a `MixModel`, because nothing would
            mix the labels there. Pass `False` if your own training step mixes the labels by the plan.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        seed: Int that makes the draws repeatable. In a worker process, the number of the worker is part of the seed.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        images: The images of a model, (batch, height, width, channels) of any integer or float dtype and any range; or
            a labeled batch: a tuple `(images, labels)` or `(images, labels, sample_weight)`, or a dict with the key
            `"images"` and at least one of `"labels"` and `"segmentation_masks"` (batch, height, width) or
            (batch, height, width, classes), optionally with `"sample_weight"` (batch,). The keys `"image"` and
            `"label"` of tensorflow-datasets are accepted too, and other values, such as `"id"`, pass through unless
            their name says that they describe the image, such as `"bounding_boxes"`.
        labels: The labels, if they are passed as a separate argument: one-hot or soft labels (batch, classes), integer
            labels (batch,) or (batch, 1), or a structure of these.
        sample_weight: Sample weights (batch,), if they are passed as a separate argument.
        training: Whether to mix. By default, images without labels are mixed only inside the training of a model, and
            labeled batches are always mixed.

    Returns:
        For images without labels, `(images, plan)`: the images with the same shape and dtype, mixed if the site that
        fires is the input, and the plan (see `keras_mma.plans`). For a labeled batch, the mixed batch in the same
        form; its labels and sample weights are float32.

    Raises:
        ValueError: If an argument is out of range, the images are not of rank 4, the labels have an unsupported form,
            integer labels come without `num_classes`, a dict lacks keys or has values that cannot be mixed, or images
            without labels would be mixed inside a model that is not a `MixModel`.
    """

    probability = arguments.Adjustable(arguments.fraction)
    #: Whether `sample_mask` uses saliency maps.
    uses_saliency = False
    #: Whether every mask contains only 0 and 1, so that class indices of segmentation masks can follow it.
    has_binary_mask = False
    #: Whether the mixer moves or resizes the partner's image, which the plan cannot describe to feature sites.
    is_input_only = False
    #: Whether all of the partner's image is shown, though shrunk.
    shows_whole_partner = False
    #: Whether one draw of lam, of the box and of `probability` holds for the whole batch.
    draws_per_batch = False
    #: Whether a `MixModel` applies `label="sumix"`.
    is_compared_by_model = False
    #: Norm of the shares of saliency by which `label="saliency"` weights the labels.
    norm = 1

    def __init__(
        self,
        *,
        probability: float = 1.0,
        sites: Sequence[int] = (0,),
        site_weights: Sequence[float] | None = None,
        partner: str = "shuffle",
        detector: str | Callable | None = None,
        detector_size: int | None = None,
        attribution_layer: str | None = None,
        label: str = "area",
        num_classes: int | None = None,
        ignore_zero_weight: bool = False,
        requires_mix_model: bool = True,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # A plan must stay float32 and int32 whatever the precision policy.
        super().__init__(seed=seed, autocast=False, **kwargs)
        self.probability = probability
        self.sites = arguments.sites(sites)
        self.site_weights = arguments.site_weights(site_weights, self.sites)
        policies = ("shuffle", "derangement", "roll", *(() if detector is None else ("distance",)))
        self.partner = arguments.choice("partner", partner, policies)
        self.label = arguments.choice("label", label, ("area", "saliency", "sumix"))
        self.num_classes = None if num_classes is None else arguments.integer("num_classes", num_classes, 1)
        self.ignore_zero_weight = arguments.boolean("ignore_zero_weight", ignore_zero_weight)
        self.requires_mix_model = arguments.boolean("requires_mix_model", requires_mix_model)
        self.data_format = arguments.data_format(data_format)
        self.detector_size = None if detector_size is None else arguments.integer("detector_size", detector_size, 1)
        arguments.check_mixer(self, detector, attribution_layer)
        self.detector = detectors.identifier(detector)
        self.attribution_layer = attribution_layer
        self._detect = detectors.find(detector)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        input_forms.check_values(self, *args, **kwargs)
        return super().__call__(*args, **kwargs)

    def call(self, images: Any, labels: Any = None, sample_weight: Any = None, training: bool | None = None) -> Any:
        batch, write = input_forms.read_for(self, images, labels, sample_weight)
        images, is_labeled = batch["images"], input_forms.is_labeled(batch)
        batch_size, (height, width) = ops.shape(images)[0], self.image_size(ops.shape(images))
        is_training = is_labeled if training is None else training
        # A replica may get no sample of the last batch.
        if not is_training or (isinstance(batch_size, int) and batch_size == 0):
            return write(batch if is_labeled else {**batch, "plan": plans.unmixed(batch_size, height, width)})
        input_forms.check_comparison(self, is_labeled)
        input_forms.warn_of_data_format(tuple(images.shape), self)
        if not is_labeled:
            input_forms.check_followed(self, images)
        with xla_if_it_pays_off(is_labeled, height, width):
            return write(self._mix_batch(batch))

    @compiled_once
    def _mix_batch(self, batch):
        """Sample, make the plan and mix: the mixed batch and the plan, in a dict."""
        is_labeled, (height, width) = input_forms.is_labeled(batch), self.image_size(ops.shape(batch["images"]))
        site = 0 if is_labeled else self.sample_site()
        partner, mask, weight = self.sample(batch["images"])
        input_forms.check_sources(self, mask)
        if self.ignore_zero_weight:
            is_counted = input_forms.is_counted(batch)
            is_mixed = ops.logical_and(is_counted, plans.take_partner(is_counted, partner))
            mask, weight = mask.leave_out(is_mixed), ops.where(is_mixed, weight, 1.0)
        plan = plans.make(partner, mask.rasterize(height, width), weight, site, mask.find_unmixed())
        return {**self._mix(batch, plan, mask), "plan": plan}

    @property
    def is_pure(self):
        """Whether mixing consists of tensor operations alone, so that it can be compiled as a whole."""
        is_ours = type(self).__module__.startswith("keras_mma.")
        return is_ours and (self._detect is None or self._detect.is_pure)

    def sample(self, images):
        """Sample partners, masks and label weights.

        Args:
            images: The images, in the layer's data format.

        Returns:
            Int32 partners (batch,), the mask and float32 weights (batch,).
        """
        batch_size = ops.shape(images)[0]
        maps = self.saliency_maps(images)
        partner = self.sample_partner(batch_size, maps)
        mask = self.sample_mask(images, partner, maps)
        is_mixed = self.sample_is_mixed(batch_size)
        if is_mixed is not None:
            mask = mask.leave_out(is_mixed)
        return partner, mask, self.label_weight(mask, partner, maps, *self.image_size(ops.shape(images)))

    def saliency_maps(self, images):
        """The saliency maps of a batch, finite, non-negative and without gradient.

        Args:
            images: The images, in the layer's data format.

        Returns:
            A float32 tensor (batch, height, width, 1), or `None` without a detector.
        """
        if self._detect is None:
            return None
        return ops.stop_gradient(self._detect(images, self.detector_size, self.data_format))

    def sample_site(self):
        """Draw the site that fires in this step."""
        return sampling.choice(self.sites, self.site_weights, self.seed_generator)

    def sample_is_mixed(self, batch_size):
        """Draw by `probability` which samples are mixed: booleans (batch,), or `None` if all of them are."""
        probability = self.step_value("probability")
        if isinstance(probability, float) and probability == 1.0:
            return None
        draws = sampling.bernoulli((1 if self.draws_per_batch else batch_size,), probability, self.seed_generator)
        return ops.broadcast_to(draws, (batch_size,))

    def step_value(self, name):
        """The value of `probability` or `alpha` as a step uses it: a scalar tensor, or a float on PyTorch."""
        return getattr(self, f"_{name}").read()

    def shared(self, draws):
        """The draw of the first sample for all samples, if there is one draw for the whole batch."""
        return ops.broadcast_to(draws[:1], ops.shape(draws)) if self.draws_per_batch else draws

    def sample_mask(self, images, partner, maps):
        """Sample the masks of a batch.

        Args:
            images: The images, in the layer's data format.
            partner: Int32 tensor (batch,).
            maps: The saliency maps (batch, height, width, 1), or `None` without a detector.

        Returns:
            A `Uniform`, `Box` or `Dense` mask; see `keras_mma.layers.masks`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `sample_mask(images, partner, maps)`.")

    def sample_partner(self, batch_size, maps):
        """Sample the partner of each sample, int32 (batch,)."""
        return pairing.sample(self.partner, batch_size, maps, self.seed_generator)

    def label_weight(self, mask, partner, maps, height, width):
        """The share of its own label that each sample keeps, float32 (batch,)."""
        if self.label != "saliency":
            input_forms.check_comparison(self)
            return mask.mean(height, width)
        return label_rules.weight_of_mask(mask, height, width, partner, maps, self.norm, self.shows_whole_partner)

    def compute_output_spec(self, images, labels=None, sample_weight=None, training=None):
        batch, write = input_forms.read_for(self, images, labels, sample_weight)
        images = batch["images"]
        if not input_forms.is_labeled(batch):
            input_forms.check_not_in_sequential(self)
            plan = plans.spec(images.shape[0], *self.image_size(images.shape))
            return write({"images": keras.KerasTensor(images.shape, images.dtype), "plan": plan})
        for name in ("labels", "sample_weight"):
            if name in batch:
                batch[name] = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, "float32"), batch[name])
        return write(batch)

    def get_config(self):
        names = ("probability", "partner", "detector_size", "attribution_layer", "label", "num_classes", "data_format")
        names += ("ignore_zero_weight", "requires_mix_model")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "sites": list(self.sites),
            "site_weights": None if self.site_weights is None else list(self.site_weights),
            "detector": configs.serialize(self.detector),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "detector": configs.restore_frozen(config.get("detector"))})

    def copy(self, **changes):
        """A layer like this one, with some arguments changed."""
        config = configs.for_copy(self)
        if arguments.sites(changes.get("sites", self.sites)) != self.sites:
            config["site_weights"] = None
        copy = type(self)(**{**config, **changes})
        if copy.detector is self.detector and copy.detector_size == self.detector_size:
            copy._detect = self._detect  # keeps an attached network, which takes that size
        return copy

    def attributing_mixers(self):
        """The mixers in this one whose detector is an attribution of the network."""
        return [self] if isinstance(self._detect, detectors.Attribution) else []

    def attach_network(self, network):
        """Give the mixer the network of its attribution, a `NetworkView`. `MixModel` calls this."""
        self._detect = detectors.Attribution(self.detector, network)

    def image_size(self, shape):
        """Height and width in a shape of images."""
        return tuple(shape[1:3] if self.data_format == "channels_last" else shape[2:4])

    def _mix(self, batch, plan, mask):
        def mix_images():
            return masks.mix(batch["images"], plan["partner"], mask, self.data_format)

        if 0 not in self.sites:
            return batch
        if self.sites != (0,):
            return {"images": ops.cond(plan["site"] == 0, mix_images, lambda: batch["images"])}
        return {"images": mix_images(), **labeled_batches.mix(batch, plan, mask.source, mask.own_source)}
