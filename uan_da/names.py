"""Every name that a recipe may use, and where its code lives.

A name becomes an object only when it is asked for, so that ``uan-da --help`` imports nothing. A new norm, method, …
is one file and one line here; ``module:object`` of the user's own works wherever a name does.
"""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uan_da.errors import UserError
from uan_da.trust import Trust


@dataclass(frozen=True)
class Names:
    """The names of one ``kind`` of thing, ``name → "module:object"``."""

    kind: str
    targets: Mapping[str, str]
    families: Mapping[str, str] = field(default_factory=dict)
    """``prefix → "module:function"``: the function makes, from the name in ``prefix:name``, the object that it is."""
    base: str = ""
    """``"module:class"``: the base class that every object of this kind inherits; empty where there is none."""

    def permit(self, name: str, trust: Trust) -> None:
        """UserError where ``name`` is a ``module:object`` of a file whose code is not to be run."""
        family, colon, _ = name.partition(":")
        if colon and family not in self.families:
            trust.check(self.kind, name)

    def load(self, name: str) -> Any:
        """The object that ``name``, a member of a family (``timm:resnet50``), or a ``module:object`` stands for.

        Raises:
            UserError: the name is unknown (says which exist and which is nearest), its module cannot be imported, or
                its object is not of this kind.
        """
        found = self._find(name)
        if self.base:
            self._check_inherits(name, found)
        return found

    def _find(self, name: str) -> Any:
        family, _, member = name.partition(":")
        if member and family in self.families:
            return self.family(family)(member)
        if ":" in name:
            if os.getcwd() not in sys.path:  # an installed command does not see the folder where the user's code is
                sys.path.append(os.getcwd())
            return _import(name, self.kind)
        if name not in self.targets:
            raise UserError(unknown(self.kind, name, self.targets))
        return _import(self.targets[name], self.kind)

    def _check_inherits(self, name: str, found: Any) -> None:
        base = _import(self.base, self.kind)
        if not inspect.isclass(found) or not issubclass(found, base):
            raise UserError(
                f"{self.kind} {name!r} does not inherit a base class of {base.__module__}: "
                f"{', '.join(cls.__name__ for cls in _descendants(base))}"
            )
        if lacking := [part for part, value in inspect.getmembers(found) if _is_abstract(value)]:
            raise UserError(f"{self.kind} {name!r} lacks {', '.join(map(repr, lacking))}")

    def family(self, prefix: str) -> Callable[[str], Any]:
        """The function that makes the members of a family from what stands after its ``prefix:``."""
        function: Callable[[str], Any] = _import(self.families[prefix], self.kind)
        return function


def _is_abstract(part: object) -> bool:
    return bool(inspect.isfunction(part) and part.__dict__.get("__isabstractmethod__", False))


def _descendants(base: type) -> list[type]:
    """The classes of ``base``'s module that inherit it."""
    subclasses: list[type] = base.__subclasses__()
    direct = [cls for cls in subclasses if cls.__module__ == base.__module__]
    return [each for cls in direct for each in (cls, *_descendants(cls))]


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: the nearest one, or all that do."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"available: {', '.join(known)}"
    return f"unknown {kind} {name!r} ({hint})"


def _import(target: str, kind: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise UserError(f"{kind} {target!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise UserError(f"{kind} {target!r} does not exist: {error}") from error
    return found


NORMS = Names(
    "norm",
    {
        "bn": "uan_da.norms.synchronized:batch_norm",
        "uan": "uan_da.norms.uan.conversion:uan",
        "uan_paper": "uan_da.norms.uan.conversion:uan_paper",
        "gn": "uan_da.norms.baselines.group:group_norm",
        "ln": "uan_da.norms.baselines.layer:layer_norm",
        "ln_channel": "uan_da.norms.baselines.layer:channel_layer_norm",
        "in": "uan_da.norms.baselines.instance:instance_norm",
        "mn": "uan_da.norms.baselines.mixture:mixture_norm",
        "dsbn": "uan_da.norms.baselines.dsbn:dsbn",
        "transnorm": "uan_da.norms.baselines.transnorm:TransNorm",
        "alpha_bn": "uan_da.norms.baselines.alpha_bn:alpha_bn",
        "cn": "uan_da.norms.baselines.context:cn",
        "acn": "uan_da.norms.baselines.context:acn",
    },
)

METHODS = Names(
    "method",
    {
        "source_only": "uan_da.methods.bounds:SourceOnly",
        "joint": "uan_da.methods.bounds:Joint",
        "source_and_target": "uan_da.methods.bounds:SourceAndTarget",
        "target_oracle": "uan_da.methods.bounds:TargetOracle",
        "zero_shot": "uan_da.methods.prompts.zero_shot:ZeroShot",
        "dapl": "uan_da.methods.prompts.dapl:DAPL",
        "dan": "uan_da.methods.discrepancy.dan:DAN",
        "jan": "uan_da.methods.discrepancy.jan:JAN",
        "deep_coral": "uan_da.methods.discrepancy.deep_coral:DeepCORAL",
        "deepjdot": "uan_da.methods.discrepancy.deepjdot:DeepJDOT",
        "swd": "uan_da.methods.adversarial.swd:SWD",
        "dann": "uan_da.methods.adversarial.dann:DANN",
        "cdan": "uan_da.methods.adversarial.cdan:CDAN",
        "bsp": "uan_da.methods.adversarial.bsp:BSP",
        "gvb": "uan_da.methods.adversarial.gvb:GVB",
        "mdd": "uan_da.methods.adversarial.mdd:MDD",
        "adda": "uan_da.methods.adversarial.adda:ADDA",
        "mcd": "uan_da.methods.adversarial.mcd:MCD",
        "vada": "uan_da.methods.adversarial.vada:VADA",
        "dirt_t": "uan_da.methods.adversarial.dirt_t:DIRTT",
        "pada": "uan_da.methods.adversarial.pada:PADA",
        "ba3us": "uan_da.methods.adversarial.ba3us:BA3US",
        "ovanet": "uan_da.methods.open_set.ovanet:OVANet",
        "dance": "uan_da.methods.open_set.dance:DANCE",
        "m3sda": "uan_da.methods.multi_source.m3sda:M3SDA",
        "mme": "uan_da.methods.semi_supervised.mme:MME",
        "afn": "uan_da.methods.self_training.afn:AFN",
        "mcc": "uan_da.methods.self_training.mcc:MCC",
        "bnm": "uan_da.methods.self_training.bnm:BNM",
        "minent": "uan_da.methods.self_training.minent:MinEnt",
        "im": "uan_da.methods.self_training.im:InformationMaximization",
        "pseudo_label": "uan_da.methods.self_training.pseudo_label:PseudoLabel",
        "fixmatch": "uan_da.methods.self_training.fixmatch:FixMatch",
        "adamatch": "uan_da.methods.self_training.adamatch:AdaMatch",
        "adamatch_keras": "uan_da.methods.self_training.adamatch_keras:AdaMatchKeras",
        "mean_teacher": "uan_da.methods.self_training.mean_teacher:MeanTeacher",
        "mic": "uan_da.methods.self_training.mic:MIC",
        "atdoc": "uan_da.methods.self_training.atdoc:ATDOC",
        "adabn": "uan_da.methods.source_free.adabn:AdaBN",
        "uan": "uan_da.methods.source_free.uan:UANAdaptation",
        "tent": "uan_da.methods.source_free.tent:Tent",
        "shot": "uan_da.methods.source_free.shot:SHOT",
        "nrc": "uan_da.methods.source_free.nrc:NRC",
        "aad": "uan_da.methods.source_free.aad:AaD",
        "plue": "uan_da.methods.source_free.plue:PLUE",
        "lame": "uan_da.methods.source_free.lame:LAME",
    },
    base="uan_da.methods.method:BaseMethod",
)

STREAM_METHODS = Names(
    "stream method",
    {
        "source": "uan_da.streams.methods.source:Source",
        "bn_1": "uan_da.streams.methods.bn_1:BN1",
        "bn_alpha": "uan_da.streams.methods.bn_alpha:BNAlpha",
        "bn_ema": "uan_da.streams.methods.bn_ema:BNEMA",
        "dua": "uan_da.streams.methods.dua:DUA",
        "uan": "uan_da.streams.methods.uan:UANOnline",
        "unmix_tns": "uan_da.streams.methods.unmix_tns:UnMixTNS",
        "iabn": "uan_da.streams.methods.iabn:IABN",
        "lame": "uan_da.streams.methods.lame:LAME",
        "t3a": "uan_da.streams.methods.t3a:T3A",
        "tent": "uan_da.streams.methods.tent:Tent",
        "eta": "uan_da.streams.methods.eta:ETA",
        "eata": "uan_da.streams.methods.eata:EATA",
        "sar": "uan_da.streams.methods.sar:SAR",
        "rdumb": "uan_da.streams.methods.rdumb:RDumb",
        "tbr": "uan_da.streams.methods.tbr:TBR",
        "delta": "uan_da.streams.methods.delta:DELTA",
        "ttn": "uan_da.streams.methods.ttn:TTN",
        "note": "uan_da.streams.methods.note:NOTE",
        "rotta": "uan_da.streams.methods.rotta:RoTTA",
        "cotta": "uan_da.streams.methods.cotta:CoTTA",
        "roid": "uan_da.streams.methods.roid:ROID",
        "deyo": "uan_da.streams.methods.deyo:DeYO",
        "memo": "uan_da.streams.methods.memo:MEMO",
        "uan_eta": "uan_da.streams.methods.uan_eta:UANETA",
    },
)

BACKBONES = Names(
    "backbone",
    {
        "small_cnn": "uan_da.models.digits_cnns:small_cnn",
        "lenet": "uan_da.models.digits_cnns:lenet",
        "dtn": "uan_da.models.digits_cnns:dtn",
        "vada_small": "uan_da.models.vada:vada_small",
        "vada_large": "uan_da.models.vada:vada_large",
        "wrn_28_2": "uan_da.models.wide_resnet:wrn_28_2",
        "wrn_28_10": "uan_da.models.wrn_28_10:wrn_28_10",
        "resnext29": "uan_da.models.resnext29:resnext29",
        "shallow_cnn": "uan_da.models.shallow_cnn:shallow_cnn",
        "densenet40": "uan_da.models.densenet:densenet40",
        "densenet100": "uan_da.models.densenet:densenet100",
        "efficientnet_lite0": "uan_da.models.efficientnet_lite:efficientnet_lite0",
        "resnet18": "uan_da.models.torchvision_backbones:resnet18",
        "resnet34": "uan_da.models.torchvision_backbones:resnet34",
        "resnet50": "uan_da.models.torchvision_backbones:resnet50",
        "resnet101": "uan_da.models.torchvision_backbones:resnet101",
        "vit_b_16": "uan_da.models.torchvision_backbones:vit_b_16",
        "convnext_tiny": "uan_da.models.torchvision_backbones:convnext_tiny",
    },
    families={
        "timm": "uan_da.models.timm_backbone:timm_backbone",
        "clip": "uan_da.models.clip_backbone:clip_backbone",
    },
)

AUGMENTATIONS = Names(
    "augmentation",
    {
        "crop": "uan_da.data.augment:Crop",
        "resized_crop": "uan_da.data.augment:ResizedCrop",
        "flip": "uan_da.data.augment:Flip",
        "affine": "uan_da.data.augment:Affine",
        "color_jitter": "uan_da.data.augment:ColorJitter",
        "grayscale": "uan_da.data.augment:Grayscale",
        "blur": "uan_da.data.augment:Blur",
        "invert": "uan_da.data.augment:Invert",
        "rand_augment": "uan_da.data.augment:RandAugment",
        "cutout": "uan_da.data.augment:Cutout",
    },
)

VALIDATORS = Names(
    "validator",
    {
        "information_maximization": "uan_da.evaluation.validators.confidence:information_maximization",
        "entropy": "uan_da.evaluation.validators.confidence:entropy",
        "diversity": "uan_da.evaluation.validators.confidence:diversity",
        "bnm": "uan_da.evaluation.validators.confidence:bnm",
        "snd": "uan_da.evaluation.validators.structure:snd",
        "class_clustering": "uan_da.evaluation.validators.structure:class_clustering",
        "class_ami": "uan_da.evaluation.validators.structure:class_ami",
        "mano": "uan_da.evaluation.validators.confidence:mano",
        "rankme": "uan_da.evaluation.validators.structure:rankme",
        "circular": "uan_da.evaluation.validators.consistency:circular",
        "mixval": "uan_da.evaluation.validators.consistency:mixval",
        "nearest_source": "uan_da.evaluation.validators.neighbors:nearest_source",
        "knn": "uan_da.evaluation.validators.neighbors:knn",
        "source_accuracy": "uan_da.evaluation.validators.source_risk:source_accuracy",
        "importance_weighted": "uan_da.evaluation.validators.source_risk:importance_weighted",
        "dev": "uan_da.evaluation.validators.source_risk:dev",
    },
)

ADAPTERS = Names(
    "adapter",
    {
        "digits": "uan_da.data.digits:Digits",
        "mnist_m": "uan_da.data.blend:MnistM",
        "synthetic": "uan_da.data.synthetic:Synthetic",
        "folder": "uan_da.data.adapters.folder:Folder",
        "list_file": "uan_da.data.adapters.list_file:ListFile",
        "csv_table": "uan_da.data.adapters.csv_table:CsvTable",
        "npz": "uan_da.data.adapters.npz:Npz",
        "idx": "uan_da.data.adapters.idx:Idx",
        "svhn_mat": "uan_da.data.adapters.svhn_mat:SvhnMat",
        "usps": "uan_da.data.adapters.usps:Usps",
        "cifar": "uan_da.data.adapters.cifar:Cifar",
        "cifar_c": "uan_da.data.adapters.cifar_c:CifarC",
        "corrupted": "uan_da.data.adapters.corrupted:Corrupted",
        "torch_dataset": "uan_da.data.adapters.torch_dataset:TorchDataset",
        "hugging_face": "uan_da.data.adapters.hugging_face:HuggingFace",
    },
)

OPTIMIZERS = Names(
    "optimizer",
    {
        "adam": "uan_da.training.optimizer:adam",
        "adamw": "uan_da.training.optimizer:adamw",
        "sgd": "uan_da.training.optimizer:sgd",
    },
)

LOGGERS = Names(
    "logger",
    {
        "tensorboard": "uan_da.training.loggers.tensorboard:TensorBoard",
        "wandb": "uan_da.training.loggers.wandb:WandB",
        "mlflow": "uan_da.training.loggers.mlflow:MLflow",
    },
)

SCHEDULES = Names(
    "schedule",
    {
        "constant": "uan_da.training.schedule:constant",
        "cosine": "uan_da.training.schedule:cosine",
        "cosine_arc": "uan_da.training.schedule:cosine_arc",
        "steps": "uan_da.training.schedule:steps",
        "inverse_decay": "uan_da.training.schedule:inverse_decay",
    },
)
