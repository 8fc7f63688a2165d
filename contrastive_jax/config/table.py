"""Every config field with its default, what it allows and what it means, in one table."""

from contrastive_jax.config.arms import ARMS
from contrastive_jax.config.rules import (
    BOOL,
    PART,
    PATH,
    POSITIVE,
    SHARE,
    TEXT,
    Field,
    Needs,
    integer,
    number,
    one_of,
    one_of_or_empty,
)
from contrastive_jax.config.sections import SECTIONS, Section

__all__ = ['FIELDS', 'WITHOUT_EFFECT', 'paths', 'register']


# The fields that belong to no task, as they stand before and after those that tasks add.
_FIRST: dict[str, Field] = {
    'seed': Field(0, integer(0), 'All randomness of a run follows from this number.'),
    'arm': Field(
        '',
        one_of_or_empty(*ARMS),
        'The arm names a method of the paper and sets select, remove, margin and '
        "temperature_scale of pairs; with '' these fields decide.",
    ),
    'epochs': Field(
        100, integer(1), 'A run passes this many times over the images that it pre-trains on.'
    ),
    'steps': Field(
        0,
        integer(0),
        'A run makes this many updates, whatever the number of images; 0 means as many as epochs '
        'takes. The warm-up keeps its share of the run, warmup_epochs / epochs.',
    ),
    'equal_updates': Field(
        False,
        BOOL,
        'A run that leaves images out, by removal or mixed.drop, makes as many updates as it would '
        'with them; False means fewer.',
    ),
    'batch_size': Field(256, integer(2), 'Each step takes this many images, over all devices.'),
    'precision': Field(
        'auto',
        one_of('auto', 'float32', 'bfloat16'),
        'The encoder computes in this number type; auto means bfloat16 on accelerators and '
        'float32 on CPUs.',
    ),
    'checkpoint_every': Field(1000, integer(1), 'A checkpoint is saved after this many steps.'),
    'checkpoint_minutes': Field(
        10.0, number(0), 'At most this many minutes pass between two checkpoints; 0 means no limit.'
    ),
    'checkpoint_keep': Field(
        0,
        integer(0),
        'A checkpoint at each multiple of this number of steps stays beside the newest two; 0 '
        'keeps the newest two alone.',
    ),
    'init': Field(
        None,
        PATH,
        'The encoder begins with the weights of this workdir or encoder.safetensors instead of '
        'random ones.',
    ),
    'extend': Field(
        None,
        PATH,
        'The run goes on from the last step of this finished workdir, to more epochs or steps.',
    ),
    'on_nonfinite': Field(
        'stop',
        one_of('stop', 'skip'),
        'If loss or gradient are not finite, the run stops, or skips that update and counts it.',
    ),
    'data.name': Field(
        'digits',
        TEXT,
        'The images come from digits, npz, folder, or the TFDS data set of this name.',
    ),
    'data.data_dir': Field(
        None, PATH, 'The data is in this folder of TFDS, folder of images, or npz file.'
    ),
    'data.image_size': Field(
        0,
        integer(0),
        'Images are scaled and cropped to squares with this side, in pixels; 0 keeps them as '
        'they are.',
    ),
    'data.skip_broken': Field(False, BOOL, 'Leave out image files that cannot be read.'),
    'data.max_pixels': Field(
        178_956_970,
        integer(1),
        'Image files with a larger width times height are refused; the default is the limit of '
        'Pillow.',
    ),
    'data.stream': Field(False, BOOL, 'Leave the images on disk and read them while training.'),
    'data.workers': Field(
        2,
        integer(0),
        'This many processes read images; 0 means threads of the training process.',
        Needs('data.stream'),
    ),
    'long_tail.factor': Field(
        1.0,
        number(1),
        'The largest class is this many times as large as the smallest, with an exponential '
        'profile; this affects pre-training alone.',
    ),
    'mixed.ratio': Field(
        0.0, SHARE, 'This share of the images is mixed, each with an image of another class.'
    ),
    'mixed.drop': Field(
        False,
        BOOL,
        'Leave out the images chosen for mixing instead of mixing them.',
        Needs('mixed.ratio'),
    ),
    'mixed.weight': Field(
        0.5,
        SHARE,
        'An image has this weight in its mixture; its partner has the rest.',
        Needs('mixed.ratio'),
    ),
    'mixed.match_contrast': Field(
        False, BOOL, 'Give each mixed image the contrast of its source.', Needs('mixed.ratio')
    ),
    'removal.ratio': Field(0.0, PART, 'This share of the images is left out of pre-training.'),
    'removal.method': Field(
        'difficulty',
        one_of('difficulty', 'boundary', 'sas', 'random', 'file'),
        'This score decides which images are left out; sas takes them within each latent '
        'class, and file means your own score.',
        Needs('removal.ratio'),
    ),
    'removal.scores': Field(
        None,
        PATH,
        'This file holds the scores, as npz or Parquet. The method file also takes npy, or a csv '
        'list of the images to leave out, with a column file or index.',
    ),
    'augment.crop': Field(True, BOOL, 'Crop a random part of each image and resize it.'),
    'augment.crop_scale': Field(
        0.08,
        number(0.01, 1),
        'A crop has at least this share of the area of its image.',
        Needs('augment.crop'),
    ),
    'augment.flip': Field(0.5, SHARE, 'Each view is flipped left to right with this probability.'),
    'augment.jitter': Field(
        0.8, SHARE, 'The colours of a view are jittered with this probability.'
    ),
    'augment.brightness': Field(
        0.8,
        number(0, 1),
        'The colour jitter changes the brightness by at most this relative amount.',
        Needs('augment.jitter'),
    ),
    'augment.contrast': Field(
        0.8,
        number(0, 1),
        'The colour jitter changes the contrast by at most this relative amount.',
        Needs('augment.jitter'),
    ),
    'augment.saturation': Field(
        0.8,
        number(0, 1),
        'The colour jitter changes the saturation by at most this relative amount.',
        Needs('augment.jitter'),
    ),
    'augment.hue': Field(
        0.2,
        number(0, 0.5),
        'The colour jitter turns the hue by at most this part of the circle.',
        Needs('augment.jitter'),
    ),
    'augment.greyscale': Field(0.2, SHARE, 'A view becomes grey with this probability.'),
    'augment.blur': Field(0.5, SHARE, 'A view is blurred by a Gaussian with this probability.'),
    'augment.blur_sigma': Field(
        2.0,
        number(0.1),
        'The blur has a standard deviation from 0.1 to this number of pixels.',
        Needs('augment.blur'),
    ),
    'model.name': Field(
        'resnet18',
        one_of(),  # Tasks add the names.
        'This network is trained: an encoder, or the network of another task.',
    ),
    'model.width': Field(64, integer(1), 'The first stage of an encoder has this many channels.'),
    'model.stem': Field(
        'cifar',
        one_of('cifar', 'imagenet'),
        'A ResNet begins with these layers; cifar has a 3x3 convolution with stride 1 and no '
        'pooling, for images up to 32 pixels, and up to 64 where time allows.',
    ),
    'model.projector_width': Field(2048, integer(1), 'The projector has this many hidden units.'),
    'model.projector_dim': Field(128, integer(1), 'The embedding has this many dimensions.'),
    'model.sync_batch_norm': Field(True, BOOL, 'Compute batch statistics over all devices.'),
}
_LAST: dict[str, Field] = {
    'pairs.select': Field(
        'none',
        one_of('none', 'difficult', 'all'),
        'The loss treats these negative pairs; if config.arm is set, the arm chooses them.',
    ),
    'pairs.pos_high': Field(
        0.1,
        SHARE,
        'The difficult band begins at this share, counted from the most similar pair of an '
        'image down; 0.1: the most similar tenth counts as the same class.',
    ),
    'pairs.pos_low': Field(
        0.5,
        SHARE,
        'The difficult band ends at this share, counted from the most similar pair of an image '
        'down; 0.5: the less similar half counts as easy.',
    ),
    'pairs.remove': Field(False, BOOL, 'Leave the selected pairs out of the loss.'),
    'pairs.margin': Field(
        0.0,
        number(0),
        'The margin sigma is added to the cosine of a selected pair; an arm replaces 0 by 0.1.',
    ),
    'pairs.temperature_scale': Field(
        1.0,
        POSITIVE,
        'The factor rho multiplies tau for a selected pair; an arm replaces 1 by 0.7.',
    ),
    'monitor.every_epochs': Field(
        0,
        integer(0),
        'Each time this many epochs are done, and at the end of a shorter run, the monitor '
        'measures the encoder; 0 switches the monitor off.',
    ),
    'monitor.images': Field(
        1000,
        integer(2),
        'The monitor looks at this many training images, and at no more test images than that.',
        Needs('monitor.every_epochs'),
    ),
    'optimizer.name': Field(
        'lars',
        one_of('lars', 'lars_clipped', 'sgd', 'adamw'),
        'This optimiser trains the network; lars_clipped has a trust ratio that only lowers '
        'the rate, see docs/optimizers.md.',
    ),
    'optimizer.learning_rate': Field(
        0.4,
        POSITIVE,
        'The learning rate rises to this value for 256 images a step; it is scaled with the '
        'batch size.',
    ),
    'optimizer.warmup_epochs': Field(
        10.0,
        number(0),
        'The learning rate rises linearly for this many epochs, and then follows a cosine to 0.',
    ),
    'optimizer.weight_decay': Field(
        1e-4, number(0), 'All parameters but biases and normalisation have this weight decay.'
    ),
    'optimizer.momentum': Field(
        0.9,
        SHARE,
        'The optimisers lars, lars_clipped and sgd use this momentum.',
        Needs('optimizer.name', ('lars', 'lars_clipped', 'sgd')),
    ),
    'optimizer.trust_coefficient': Field(
        0.02,
        POSITIVE,
        'The optimisers lars and lars_clipped use this trust coefficient.',
        Needs('optimizer.name', ('lars', 'lars_clipped')),
    ),
    'probe.labels_per_class': Field(
        10, integer(1), 'The few-label probe draws this many labels of each class.'
    ),
    'probe.draws': Field(
        20, integer(1), 'The few-label probe is repeated with this many random draws of labels.'
    ),
    'probe.validation_share': Field(
        0.1,
        number(0.01, 0.5),
        'This share of the training images serves to choose the L2 strength and to measure the '
        'validation accuracies.',
    ),
    'probe.neighbours': Field(200, integer(1), 'This many neighbours vote in the weighted kNN.'),
    'probe.knn_temperature': Field(
        0.1, POSITIVE, 'The votes in the weighted kNN have this temperature.'
    ),
}

FIELDS: dict[str, Field] = _FIRST | _LAST

# A run goes on with other values of these: they change how it is run, and no number.
WITHOUT_EFFECT = frozenset(
    {
        'checkpoint_every',
        'checkpoint_minutes',
        'checkpoint_keep',
        'data.workers',
        'monitor.every_epochs',
        'monitor.images',
    }
)


def paths() -> tuple[str, ...]:
    """The fields that hold a path of the file system, those that tasks add among them."""
    return tuple(path for path, field in FIELDS.items() if field.rule is PATH)


def register(section: Section) -> None:
    """Adds what a task brings: its fields and models are then part of every config."""
    SECTIONS.append(section)
    FIELDS.update(section.fields)
    for path in _LAST:
        FIELDS[path] = FIELDS.pop(path)
    names = [name for known in SECTIONS for name in known.models]
    FIELDS['model.name'] = FIELDS['model.name']._replace(rule=one_of(*names))
