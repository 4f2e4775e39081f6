"""Scenes: procedural images of coloured shapes, with captions and a stated distribution."""

from demask.scenes.captions import parse_caption as parse_caption
from demask.scenes.captions import wordings as wordings
from demask.scenes.drawing import draw as draw
from demask.scenes.law import Sample as Sample
from demask.scenes.law import class_scene as class_scene
from demask.scenes.law import sample as sample
from demask.scenes.law import scene as scene
from demask.scenes.law import unseen_sample as unseen_sample
from demask.scenes.vocabulary import Requirement as Requirement
from demask.scenes.vocabulary import Scene as Scene
from demask.scenes.vocabulary import SceneObject as SceneObject
