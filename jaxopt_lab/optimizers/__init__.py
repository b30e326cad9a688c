"""Optimizers: pure (init, update) pairs, one file a method."""

from jaxopt_lab.optimizers._base import PRIORS as PRIORS
from jaxopt_lab.optimizers.acprop import acprop as acprop
from jaxopt_lab.optimizers.adabelief import adabelief as adabelief
from jaxopt_lab.optimizers.adadelta import adadelta as adadelta
from jaxopt_lab.optimizers.adafactor import adafactor as adafactor
from jaxopt_lab.optimizers.adagrad import adagrad as adagrad
from jaxopt_lab.optimizers.adam import adam as adam
from jaxopt_lab.optimizers.adamax import adamax as adamax
from jaxopt_lab.optimizers.adamaxw import adamaxw as adamaxw
from jaxopt_lab.optimizers.adamw import adamw as adamw
from jaxopt_lab.optimizers.adan import adan as adan
from jaxopt_lab.optimizers.ademamix import ademamix as ademamix
from jaxopt_lab.optimizers.adopt import adopt as adopt
from jaxopt_lab.optimizers.amsgrad import amsgrad as amsgrad
from jaxopt_lab.optimizers.cocob import cocob as cocob
from jaxopt_lab.optimizers.dadapt_adamw import dadapt_adamw as dadapt_adamw
from jaxopt_lab.optimizers.dog import dog as dog
from jaxopt_lab.optimizers.dowg import dowg as dowg
from jaxopt_lab.optimizers.extras import filled as filled
from jaxopt_lab.optimizers.flat import Flat as Flat
from jaxopt_lab.optimizers.flat import flat as flat
from jaxopt_lab.optimizers.fromage import fromage as fromage
from jaxopt_lab.optimizers.galore import galore as galore
from jaxopt_lab.optimizers.gradient_descent import gradient_descent as gradient_descent
from jaxopt_lab.optimizers.lamb import lamb as lamb
from jaxopt_lab.optimizers.lars import lars as lars
from jaxopt_lab.optimizers.lbfgs import lbfgs as lbfgs
from jaxopt_lab.optimizers.lion import lion as lion
from jaxopt_lab.optimizers.madgrad import madgrad as madgrad
from jaxopt_lab.optimizers.master_weights import master_weights as master_weights
from jaxopt_lab.optimizers.momentum import momentum as momentum
from jaxopt_lab.optimizers.momo import momo as momo
from jaxopt_lab.optimizers.momo_adam import momo_adam as momo_adam
from jaxopt_lab.optimizers.muon import muon as muon
from jaxopt_lab.optimizers.nadam import nadam as nadam
from jaxopt_lab.optimizers.nadamw import nadamw as nadamw
from jaxopt_lab.optimizers.noisy_sgd import noisy_sgd as noisy_sgd
from jaxopt_lab.optimizers.novograd import novograd as novograd
from jaxopt_lab.optimizers.optimistic_adam import optimistic_adam as optimistic_adam
from jaxopt_lab.optimizers.optimistic_gradient_descent import optimistic_gradient_descent as optimistic_gradient_descent
from jaxopt_lab.optimizers.polyak_sgd import polyak_sgd as polyak_sgd
from jaxopt_lab.optimizers.prodigy import prodigy as prodigy
from jaxopt_lab.optimizers.radam import radam as radam
from jaxopt_lab.optimizers.rmsprop import rmsprop as rmsprop
from jaxopt_lab.optimizers.rprop import rprop as rprop
from jaxopt_lab.optimizers.sam import sam as sam
from jaxopt_lab.optimizers.schedule_free_adamw import schedule_free_adamw as schedule_free_adamw
from jaxopt_lab.optimizers.schedule_free_sgd import schedule_free_sgd as schedule_free_sgd
from jaxopt_lab.optimizers.sgd import sgd as sgd
from jaxopt_lab.optimizers.sign_sgd import sign_sgd as sign_sgd
from jaxopt_lab.optimizers.signum import signum as signum
from jaxopt_lab.optimizers.simplified_ademamix import simplified_ademamix as simplified_ademamix
from jaxopt_lab.optimizers.sm3 import sm3 as sm3
from jaxopt_lab.optimizers.sophia import sophia as sophia
from jaxopt_lab.optimizers.yogi import yogi as yogi
from jaxopt_lab.types import OptimizerFactory

OPTIMIZERS: dict[str, OptimizerFactory] = {
    "gradient_descent": gradient_descent,
    "sgd": sgd,
    "momentum": momentum,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adamw,
    "adabelief": adabelief,
    "adamax": adamax,
    "adamaxw": adamaxw,
    "amsgrad": amsgrad,
    "nadam": nadam,
    "nadamw": nadamw,
    "radam": radam,
    "yogi": yogi,
    "lion": lion,
    "adan": adan,
    "ademamix": ademamix,
    "simplified_ademamix": simplified_ademamix,
    "adopt": adopt,
    "acprop": acprop,
    "schedule_free_sgd": schedule_free_sgd,
    "schedule_free_adamw": schedule_free_adamw,
    "adadelta": adadelta,
    "sign_sgd": sign_sgd,
    "signum": signum,
    "rprop": rprop,
    "optimistic_gradient_descent": optimistic_gradient_descent,
    "optimistic_adam": optimistic_adam,
    "polyak_sgd": polyak_sgd,
    "fromage": fromage,
    "lars": lars,
    "lamb": lamb,
    "novograd": novograd,
    "noisy_sgd": noisy_sgd,
    "dog": dog,
    "dowg": dowg,
    "prodigy": prodigy,
    "dadapt_adamw": dadapt_adamw,
    "cocob": cocob,
    "momo": momo,
    "momo_adam": momo_adam,
    "muon": muon,
    "adafactor": adafactor,
    "sm3": sm3,
    "madgrad": madgrad,
    "sam": sam,
    "sophia": sophia,
    "lbfgs": lbfgs,
    "galore": galore,
}
