"""The paper's model in PyTorch, for benchmarks/pytorch.py, which starts it with a Python that has torch and
not this project's packages.

VGG16 as PANet uses it; prototypes from features that are upsampled to the mask's size, as in the paper's own
code; alignment on. Reads numbers of steps from its input and answers with seconds.
"""

import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = ((2, 64, 1), (2, 128, 1), (3, 256, 1), (3, 512, 1), (3, 512, 2))


def encoder(arrays):
    layers, channels, number = [], 3, 0
    for block, (count, width, dilation) in enumerate(BLOCKS):
        for _ in range(count):
            convolution = nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)
            with torch.no_grad():
                convolution.weight.copy_(torch.from_numpy(arrays[f"kernel{number}"].transpose(3, 2, 0, 1)))
                convolution.bias.copy_(torch.from_numpy(arrays[f"bias{number}"]))
            layers += [convolution, nn.ReLU(inplace=True)]
            channels, number = width, number + 1
        if block < 4:
            layers.append(nn.MaxPool2d(3, 1 if block == 3 else 2, 1))
    return nn.Sequential(*layers[:-1])


def pooled(features, mask):
    large = F.interpolate(features, mask.shape[-2:], mode="bilinear")
    return (large * mask).sum((-2, -1)) / (mask.sum((-2, -1)) + 1e-5)


def similarities(features, prototypes):
    return torch.stack([20 * F.cosine_similarity(features, p[..., None, None], dim=1) for p in prototypes], 1)


def loss_of(network, support, mask, query, label):
    """Query loss plus alignment loss of an episode of one way, one shot and one query."""
    mean = torch.tensor([104.00699, 116.66877, 122.67892])[:, None, None]
    features = network(torch.cat([support, query]).flip(1) * 255 - mean)
    own, asked = features[:1], features[1:]
    prototypes = [pooled(own, 1 - mask), pooled(own, mask)]
    answer = similarities(asked, prototypes)
    query_loss = F.cross_entropy(F.interpolate(answer, label.shape[-2:], mode="bilinear"), label)
    found = answer.argmax(1, keepdim=True)
    prototypes = [pooled(asked, (found == way).float()) for way in (0, 1)]
    back = F.interpolate(similarities(own, prototypes), label.shape[-2:], mode="bilinear")
    return query_loss + F.cross_entropy(back, mask[:, 0].long())


def main(weights, episode):
    arrays = np.load(episode)
    support, query = (
        torch.from_numpy(arrays[name].reshape(1, *arrays[name].shape[-3:]).transpose(0, 3, 1, 2).copy())
        for name in ("support_images", "query_images")
    )
    mask = torch.from_numpy(
        arrays["support_masks"].reshape(1, 1, *arrays["support_masks"].shape[-3:-1]).astype(np.float32)
    )
    label = torch.from_numpy(arrays["labels"].reshape(1, *arrays["labels"].shape[-3:-1]).astype(np.int64))
    network = encoder(np.load(weights))
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)

    def step():
        optimizer.zero_grad()
        loss = loss_of(network, support, mask, query, label)
        loss.backward()
        optimizer.step()
        return loss.item()

    print(step(), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        print((time.perf_counter() - start) / int(line), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
