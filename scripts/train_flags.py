"""The flags of keras-rms train.

A flag that is a field of `Recipe` or `Running` has the field's name and its default. All others are
of the data: those that decide which clips come are written into settings.json, and a work folder is
continued with the same ones only.
"""

from absl import flags

from keras_rms import models
from keras_rms.training import recipe as choices
from keras_rms.training.recipe import Recipe
from keras_rms.training.running import Running
from keras_rms.training.work_dir.initial_weights import HEADS
from pipelines.input import damage, sampling
from pipelines.input.splits import FORMATS
from pipelines.system import command_help, output_paths

command_help.section("Data")
flags.DEFINE_string(
    "data",
    None,
    "Train on the converted dataset in this folder, which keras-rms convert wrote.",
    required=True,
)
flags.DEFINE_string("train_split", "train", "Train on the videos of this split.")
flags.DEFINE_string(
    "validation_split",
    "validation",
    "Validate on this split, over 3 clips of a video, or 1 with --span=1. Leave it empty for no "
    "validation.",
)
flags.DEFINE_integer(
    "num_frames", Recipe.num_frames, "Give the network this many frames a clip.", lower_bound=1
)
flags.DEFINE_integer(
    "span",
    64,
    "Spread the frames of a clip over this many consecutive frames of the video, of which "
    "keras-rms convert writes 25 a second.",
)
flags.DEFINE_integer(
    "crop_size", 224, "Train on crops of this height and width, in pixels.", lower_bound=1
)
flags.DEFINE_integer(
    "evaluation_crop_size",
    None,
    "Validate and evaluate on crops of this height and width, in pixels. By default crop_size x "
    "256 / 224, and crop_size with --padding.",
)
flags.DEFINE_integer(
    "evaluation_short_side",
    None,
    "Scale frames to this short side, in pixels, before they are cropped in validation and "
    "evaluation. By default evaluation_crop_size. On ImageNet 256 is usual for crops of 224.",
)
flags.DEFINE_float(
    "min_area", 0.25, "Let a random crop cover no smaller share of the frame's area than this."
)
flags.DEFINE_integer(
    "padding",
    None,
    "Scale frames to a short side of crop_size, put this many black pixels around them and cut "
    "crops out of that, in the place of crops of random area. On CIFAR 4 is usual.",
)
# Wrong where left and right are classes, as in Something-Something: hence the next flag.
flags.DEFINE_bool("flip", True, "Mirror half of the training clips, left to right.")
flags.DEFINE_list(
    "flip_classes",
    [],
    "Exchange the labels of these pairs of class ids where a clip is mirrored, as in "
    "86:87,93:94,166:167. This has no effect under --noflip.",
)
flags.DEFINE_enum(
    "order",
    "shuffled",
    sampling.ORDERS,
    "Take all videos once an epoch, or every class equally often (balanced), for which videos of "
    "small classes come more often.",
)
flags.DEFINE_integer(
    "data_workers", None, "Read and decode with this many threads. By default one for each core."
)
flags.DEFINE_enum(
    "format",
    "records",
    sorted(FORMATS),
    "Read shards of this format: that of keras-rms convert, or that of DMVR and Model Garden "
    "(sequence_example).",
)
flags.DEFINE_enum(
    "on_damage",
    "stop",
    damage.POLICIES,
    "Stop at a damaged record, or skip its video and take another one.",
)
flags.DEFINE_bool(
    "allow_other_conversion",
    False,
    "Validate also on a split of another frame rate, size or quality than the one to train on, "
    "with a warning.",
)
flags.DEFINE_string(
    "data_service",
    None,
    "Let the workers of this tf.data service decode, as in grpc://host:port. Batches may then "
    "arrive in another order.",
)

command_help.section("Network")
flags.DEFINE_string("model", Recipe.model, f"Train one of {', '.join(models.list())}.")
flags.DEFINE_integer(
    "width",
    Recipe.width,
    "Give the stem this many channels; all other layers scale with it. By default as published.",
)
flags.DEFINE_float(
    "dropout",
    Recipe.dropout,
    "Drop this share of the features before the classifier. By default the network's own share.",
)
flags.DEFINE_enum(
    "residual_drop",
    Recipe.residual_drop,
    choices.RESIDUAL_DROPS,
    "Regularise the residual branches by this layer. The probability to keep a branch (of "
    "drop_block, the share of it that is kept) falls linearly with depth, down to last_survival.",
)
flags.DEFINE_float(
    "last_survival",
    Recipe.last_survival,
    "Keep the branch of the last block with this probability, or this share of it, under "
    "--residual_drop. For drop_block 0.9 is usual.",
    0.0,
    1.0,
)
flags.DEFINE_string(
    "init_from",
    Running.init_from,
    "Start from the weights of this work folder, .keras file or checkpoint, of this folder of "
    "save_to_preset (or hf://USER/NAME), or of the published network of this name, such as "
    "slow_only_50_kinetics400. Normalisation and epsilon are then those of that network.",
)
flags.DEFINE_enum(
    "init_head",
    Running.init_head,
    HEADS,
    "Keep the last layer of --init_from, or make it anew. By default it is kept for the same "
    "classes in the same order and, where their names are not known, for as many.",
)
flags.DEFINE_list(
    "freeze",
    list(Recipe.freeze),
    "Keep the weights of these stages as they are, as in stem,res2,res3. Batch normalisation "
    "there computes with its moving statistics, and random layers are inactive.",
)
flags.DEFINE_integer(
    "unfreeze_epoch",
    Recipe.unfreeze_epoch,
    "Train the stages of --freeze too, once this many epochs are over.",
)
flags.DEFINE_bool(
    "sync_bn",
    Recipe.sync_bn,
    "Take the statistics of batch normalisation over the clips of all devices together, as the JAX "
    "backend always does.",
)

command_help.section("Random Mean Scaling (RMS)")
flags.DEFINE_enum(
    "rms",
    Recipe.rms,
    choices.FILTERS,
    "Smooth the feature by this filter before its mean is scaled; none leaves RMS out.",
)
flags.DEFINE_float(
    "rms_stddev",
    Recipe.rms_stddev,
    "Give the filter of --rms=gaussian this standard deviation, in positions of the feature map.",
)
flags.DEFINE_enum(
    "rms_distribution",
    Recipe.rms_distribution,
    choices.DISTRIBUTIONS,
    "Draw alpha from this distribution.",
)
flags.DEFINE_float(
    "rms_mean", Recipe.rms_mean, "Draw alpha with this mean; the factor 1 changes nothing."
)
flags.DEFINE_float(
    "rms_spread",
    Recipe.rms_spread,
    "Draw alpha with this standard deviation (half the width, if uniform), as a factor.",
)
flags.DEFINE_enum(
    "rms_component",
    Recipe.rms_component,
    choices.COMPONENTS,
    "Scale this part of the feature by alpha: its local mean (RMS), the residual r, or the whole "
    "input x, as in the paper's Table 1 (c).",
)
flags.DEFINE_string(
    "rms_position",
    Recipe.rms_position,
    "Put RMS at this place in the residual branch, as in before_bn1. By default at the paper's.",
)
flags.DEFINE_list(
    "rms_stages", Recipe.rms_stages, "Put RMS into these stages. By default res4,res5."
)

command_help.section("Optimisation")
flags.DEFINE_integer(
    "batch_size",
    Recipe.batch_size,
    "Take this many clips a step, over all devices and machines together.",
)
flags.DEFINE_integer(
    "epochs",
    Recipe.epochs,
    "Train for this many epochs, in each of which every video comes once.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "steps_per_epoch",
    Recipe.steps_per_epoch,
    "Let an epoch end after this many steps. By default after as many as see every video.",
)
flags.DEFINE_float(
    "learning_rate",
    Recipe.learning_rate,
    "Let the learning rate reach this value for the whole batch. By default 0.1 x batch_size / 64 "
    "(linear scaling), and a hundredth of that with --optimizer=adamw.",
)
flags.DEFINE_float(
    "head_rate",
    Recipe.head_rate,
    "Multiply the learning rate of the last layer by this factor.",
)
flags.DEFINE_enum(
    "optimizer",
    Recipe.optimizer,
    choices.OPTIMIZERS,
    "Move the weights by this rule: SGD with Nesterov momentum, or AdamW.",
)
flags.DEFINE_enum(
    "schedule",
    Recipe.schedule,
    choices.SCHEDULES,
    "Let the learning rate fall along half a cosine, or in steps.",
)
flags.DEFINE_list(
    "decay_epochs",
    list(Recipe.decay_epochs),
    "Multiply the rate by decay_factor at these epochs, with --schedule=steps.",
)
flags.DEFINE_float(
    "decay_factor",
    Recipe.decay_factor,
    "Multiply the rate by this factor at each of --decay_epochs.",
)
flags.DEFINE_float(
    "warmup_epochs",
    Recipe.warmup_epochs,
    "Raise the rate linearly for this many epochs. By default for 34/196 of the epochs.",
)
flags.DEFINE_float(
    "warmup_start", Recipe.warmup_start, "Begin the warm-up at this share of the highest rate."
)
flags.DEFINE_float(
    "momentum",
    Recipe.momentum,
    "Carry this share of the last update on to the next (Nesterov momentum; beta_1 of AdamW).",
)
flags.DEFINE_float(
    "weight_decay",
    Recipe.weight_decay,
    "Add this factor times the weights to the gradients, of kernels only. AdamW shrinks kernels by "
    "rate x weight_decay instead, where 0.01 to 0.05 is usual.",
)
flags.DEFINE_float(
    "label_smoothing",
    Recipe.label_smoothing,
    "Spread this share of the target evenly over all classes.",
)
flags.DEFINE_string(
    "class_weights",
    Recipe.class_weights,
    "Multiply the loss of each clip by the weight of its class: balanced, by which all classes "
    "count alike, or a JSON file with a number for each class name.",
)
flags.DEFINE_enum(
    "mixing", Recipe.mixing, choices.MIXINGS, "Make two clips and their labels into one."
)
flags.DEFINE_float(
    "mixing_alpha",
    Recipe.mixing_alpha,
    "Draw the share of each clip in a mixture from Beta(a, a), where a is this number.",
)
flags.DEFINE_float(
    "mixing_probability", Recipe.mixing_probability, "Mix this share of the batches."
)
flags.DEFINE_list(
    "color_jitter",
    list(Recipe.color_jitter),
    "Change brightness, contrast and saturation of each clip by factors of 1 plus or minus up to "
    "this number, or three of them; a fourth is the largest turn of the hue, as a share of the "
    "circle, as in 0.4,0.4,0.4,0.1. By default nothing is changed.",
)
flags.DEFINE_list(
    "rand_augment",
    list(Recipe.rand_augment),
    "Change each clip by this number of RandAugment's operations, of this magnitude from 0 to 10, "
    "as in 2,9. By default none.",
)
flags.DEFINE_float(
    "random_erasing",
    Recipe.random_erasing,
    "Erase a random box, the same in all frames, in this share of the clips.",
)
flags.DEFINE_float(
    "clip_norm",
    Recipe.clip_norm,
    "Shorten a gradient whose norm, over all weights, is above this number.",
)
flags.DEFINE_integer(
    "accumulation",
    Recipe.accumulation,
    "Compute the batch of each device in this many parts, one after the other, to save memory.",
)
flags.DEFINE_float(
    "average_decay",
    Recipe.average_decay,
    "Validate and keep a running average of the weights that decays by this factor a step, such "
    "as 0.999.",
)
flags.DEFINE_integer(
    "precise_bn_steps",
    Recipe.precise_bn_steps,
    "Measure the statistics of batch normalisation anew over this many batches before the network "
    "is evaluated.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "precision",
    Recipe.precision,
    choices.PRECISIONS,
    "Let layers compute in this precision. Weights stay in float32; float16 scales the loss.",
)
flags.DEFINE_integer(
    "seed",
    Recipe.seed,
    "Derive weights, order of data, augmentation and random layers from this number.",
)

command_help.section("Running")
_WORK_DIR = flags.DEFINE_string(
    "work_dir", None, "Write all results into this folder.", required=True
)
output_paths.names_folder(_WORK_DIR)
flags.DEFINE_integer(
    "replicas",
    Running.replicas,
    "Train on this many devices of this machine. 0 takes all GPUs, or one CPU; 2 on a CPU makes "
    "two logical devices, to try it.",
)
flags.DEFINE_list(
    "cluster",
    list(Running.cluster),
    "Train on several machines: host:port of each worker, in the same order on all of them.",
)
flags.DEFINE_integer(
    "task", Running.task, "Take this place in --cluster, a number that begins at 0."
)
flags.DEFINE_float(
    "worker_timeout",
    Running.worker_timeout,
    "Wait at most this many seconds for other workers to answer.",
)
flags.DEFINE_integer(
    "validate_every", Recipe.validate_every, "Validate whenever this many epochs are over."
)
flags.DEFINE_integer(
    "stop_after",
    Recipe.stop_after,
    "Stop early, after this number of validations in a row without a higher accuracy.",
)
flags.DEFINE_integer(
    "checkpoint_every",
    Running.checkpoint_every,
    "Write a checkpoint after so many steps, beside those at the ends of epochs.",
)
flags.DEFINE_integer(
    "keep_checkpoints",
    Running.keep_checkpoints,
    "Keep this many of the newest checkpoints, beside the best.",
)
flags.DEFINE_integer(
    "steps_per_call",
    Running.steps_per_call,
    "Take this many steps from one log line to the next; 0 takes as many as last about a second.",
)
flags.DEFINE_bool(
    "jit_compile",
    Running.jit_compile,
    "Compile the training step with XLA; on CPUs for one device only.",
)
flags.DEFINE_bool(
    "deterministic", Running.deterministic, "Make runs bitwise repeatable, at some cost in speed."
)
