"""The peers' work, each in its own best form that gives the same result. Steps return the mean squared error per
dimension, as ours does."""

import torch


def unit_columns(weight):
    """Columns of `[d, F]` to norm 1, in place."""
    weight.div_(weight.norm(dim=0, keepdim=True).clamp_min(1e-8))


def without_radial(weight, gradient):
    """Takes off each column's gradient its part along the unit column."""
    gradient.sub_((gradient * weight).sum(0, keepdim=True) * weight)


class Plain(torch.nn.Module):
    """Encoder, decoder and both biases, from given unit decoder rows `[F, d]`."""

    def __init__(self, decoder):
        super().__init__()
        self.encoder = torch.nn.Parameter(decoder.clone())
        self.encoder_bias = torch.nn.Parameter(torch.zeros(len(decoder), device=decoder.device))
        self.decoder = torch.nn.Parameter(decoder.T.clone().contiguous())
        self.decoder_bias = torch.nn.Parameter(torch.zeros(decoder.shape[1], device=decoder.device))

    def pre(self, x):
        return torch.nn.functional.linear(x - self.decoder_bias, self.encoder, self.encoder_bias)

    def decode(self, codes):
        return torch.nn.functional.linear(codes, self.decoder, self.decoder_bias)


def step_of(model, loss_of, lr, constrained):
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.999), fused=True)

    def step(x):
        optimiser.zero_grad(set_to_none=True)
        loss, squared = loss_of(x)
        loss.backward()
        with torch.no_grad():
            if constrained:
                without_radial(model.decoder, model.decoder.grad)
            optimiser.step()
            if constrained:
                unit_columns(model.decoder)
        return float(squared) / x.numel()

    return step


def plain_topk(decoder, k, lr, dead_after=10_000_000):
    """topk, scatter, fused Adam, unit decoder; the auxiliary loss as soon as a feature is dead."""
    model = Plain(decoder)
    last = torch.zeros(len(decoder), dtype=torch.long, device=decoder.device)
    seen = 0

    def loss_of(x):
        nonlocal seen
        pre = model.pre(x).relu()
        values, places = pre.topk(k, dim=1, sorted=False)
        codes = torch.zeros_like(pre).scatter_(1, places, values)
        error = model.decode(codes) - x
        squared = error.square().sum()
        seen += len(x)
        with torch.no_grad():
            last[places[values > 0]] = seen
            dead = seen - last >= dead_after
        loss = squared / len(x)
        if dead.any():
            n = min(x.shape[1] // 2, int(dead.sum()))
            values, places = pre.masked_fill(~dead, -1).topk(n, dim=1, sorted=False)
            codes = torch.zeros_like(pre).scatter_(1, places, values.relu())
            left = -error.detach()
            other = torch.nn.functional.linear(codes, model.decoder) - left
            spread = (left - left.mean(0)).square().sum()
            loss = loss + other.square().sum() / spread * x.shape[1] / 32
        return loss, squared.detach()

    return step_of(model, loss_of, lr, constrained=True)


def plain_relu(decoder, l1, lr):
    """Unit decoder rows in the forward pass, no decoder bias."""
    model = Plain(decoder)
    model.decoder_bias.requires_grad_(False)

    def loss_of(x):
        codes = model.pre(x).relu()
        weight = model.decoder / model.decoder.norm(dim=0, keepdim=True)
        squared = (torch.nn.functional.linear(codes, weight) - x).square().sum()
        return (squared + l1 * codes.sum()) / len(x), squared.detach()

    return step_of(model, loss_of, lr, constrained=False)


def dictionary_learning_topk(decoder, k, lr):
    from dictionary_learning.trainers.top_k import TopKTrainer
    features, d = decoder.shape
    trainer = TopKTrainer(steps=10**9, activation_dim=d, dict_size=features, k=k, layer=0, lm_name="", lr=lr,
                          warmup_steps=0, device=str(decoder.device), seed=1)
    trainer.step = 1  # its first step would set the decoder bias to a median of the batch
    ae = trainer.ae
    with torch.no_grad():
        ae.decoder.weight.copy_(decoder.T)
        ae.encoder.weight.copy_(decoder)

    def step(x):
        trainer.step += 1
        return float(trainer.update(trainer.step, x)) / x.shape[1]

    return step


def dictionary_learning_relu(decoder, l1, lr):
    from dictionary_learning.trainers.standard import StandardTrainer
    features, d = decoder.shape
    trainer = StandardTrainer(steps=10**9, activation_dim=d, dict_size=features, layer=0, lm_name="", lr=lr,
                              l1_penalty=l1, warmup_steps=0, sparsity_warmup_steps=None, device=str(decoder.device),
                              seed=1)
    count = 0

    def step(x):
        nonlocal count
        count += 1
        trainer.update(count, x)
        return 0.0

    return step


def sae_lens_topk(decoder, k, lr):
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    features, d = decoder.shape
    config = TopKTrainingSAEConfig(d_in=d, d_sae=features, k=k, device=str(decoder.device), dtype="float32")
    sae = TopKTrainingSAE(config)
    with torch.no_grad():
        sae.W_dec.copy_(decoder)
        sae.W_enc.copy_(decoder.T)
    optimiser = torch.optim.Adam(sae.parameters(), lr=lr, betas=(0.9, 0.999), fused=True)
    dead = torch.zeros(features, dtype=torch.bool, device=decoder.device)
    count = 0

    def step(x):
        nonlocal count
        optimiser.zero_grad(set_to_none=True)
        given = dict(sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=count)
        if "is_logging_step" in TrainStepInput.__dataclass_fields__:
            given["is_logging_step"] = False
        out = sae.training_forward_pass(TrainStepInput(**given))
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimiser.step()
        count += 1
        mse = out.losses["mse_loss"]
        return float(mse) / x.shape[1]

    return step


@torch.inference_mode()
def top_twenty_chunked(x, encoder, bias, times, chunk=4096):
    """The twenty largest codes of every feature over all tokens, chunk by chunk: `[F, 20]`."""
    best = torch.full((20, len(encoder)), -torch.inf)
    for _ in range(times):
        for rows in x.split(chunk):
            codes = torch.nn.functional.linear(rows, encoder, bias).relu_()
            best = torch.cat([best, codes.topk(20, dim=0, sorted=False).values]).topk(20, dim=0).values
    return best.T


@torch.inference_mode()
def top_twenty_fragments(x, encoder, bias, times, chunk=4096, positions=64):
    """The same over the maxima of fragments, which is less to sort, with how often each feature fires."""
    best = torch.full((20, len(encoder)), -torch.inf)
    fires = torch.zeros(len(encoder), dtype=torch.long)
    for _ in range(times):
        for rows in x.split(chunk):
            codes = torch.nn.functional.linear(rows, encoder, bias).relu_()
            fires += (codes > 0).sum(0)
            maxima = codes.view(-1, positions, len(encoder)).amax(1)
            best = torch.cat([best, maxima.topk(20, dim=0, sorted=False).values]).topk(20, dim=0).values
    return best.T
