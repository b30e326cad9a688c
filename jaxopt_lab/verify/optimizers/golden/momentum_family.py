"""SGD's newer relatives against their authors' code and PyTorch 2.13: how its conventions are expressed in ours."""

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden.row import Row, with_l2

pytorchs = {"output_axis": 0}
single = "PyTorch holds the falling rate and the weight of the average in float32"

ROWS = {
    "qhm/nu0.7": Row("qhm", lambda: jl.qhm(0.5, 0.9, 0.7)),
    "qhm/direct_wd": Row("qhm", lambda: jl.qhm(0.3, 0.99, 0.5, 0.02)),
    "qhm/grad_wd": Row("qhm", lambda: with_l2(0.02, jl.qhm(0.3, 0.9, 1.0))),
    "aggmo/default": Row("aggmo", lambda: jl.aggmo(0.05)),
    "aggmo/betas_wd": Row("aggmo", lambda: with_l2(0.02, jl.aggmo(0.1, betas=(0.5, 0.8, 0.9, 0.95)))),
    "sgdp/momentum": Row("sgdp", lambda: jl.sgdp(0.05, 0.9, **pytorchs)),
    "sgdp/nesterov_wd_delta": Row(
        "sgdp", lambda: jl.sgdp(0.05, 0.8, 0.2, 0.05, delta=0.8, wd_ratio=0.2, nesterov=True, **pytorchs)
    ),
    "torch_asgd/default": Row("asgd", lambda: jl.asgd(0.05), 1e-6, single),
    "torch_asgd/early_avg": Row("asgd", lambda: with_l2(0.01, jl.asgd(0.1, 0.01, 0.6, 5.0)), 1e-6, single),
    "torch_asgd_float64/default": Row("asgd", lambda: jl.asgd(0.05)),
    "torch_asgd_float64/early_avg": Row("asgd", lambda: with_l2(0.01, jl.asgd(0.1, 0.01, 0.6, 5.0))),
    "mirror_madgrad/default": Row("mirror_madgrad", lambda: jl.mirror_madgrad(0.01)),
    "mirror_madgrad/decoupled": Row("mirror_madgrad", lambda: jl.mirror_madgrad(0.02, 0.8, 0.1, decouple_decay=True)),
    "dadapt_sgd/default": Row("dadapt_sgd", lambda: jl.dadapt_sgd()),
    "dadapt_sgd/momentum_wd": Row("dadapt_sgd", lambda: jl.dadapt_sgd(0.5, 0.9, 0.01, 0.02, 1.3)),
}
