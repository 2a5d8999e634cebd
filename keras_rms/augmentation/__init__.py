"""Augmentation of frames as layers: a clip's frames are all changed alike."""

from keras_rms.augmentation.augmented import augmented
from keras_rms.augmentation.color_jitter import ColorJitter
from keras_rms.augmentation.rand_augment import RandAugment
from keras_rms.augmentation.random_erasing import RandomErasing

__all__ = ["ColorJitter", "RandAugment", "RandomErasing", "augmented"]
