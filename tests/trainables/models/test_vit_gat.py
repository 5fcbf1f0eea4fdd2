"""ViT with graph attention: the layer against loops over nodes, what affinities do, its decoder, timm's features."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

from trainables.models.spec import ModelSpec
from trainables.models.vit_gat import GraphAttention, affinity_of, vit_gat

SMALL = ModelSpec(num_bands=3, num_outputs=2, small=True)


# Graph attention


def gathered_by_loops(layer: GraphAttention, nodes: np.ndarray, affinity: np.ndarray) -> np.ndarray:
    weights = {name: value.detach().double().numpy() for name, value in layer.state_dict().items()}
    num_nodes, channels = len(nodes), weights["of_node"].shape[1]
    result = np.zeros((num_nodes, layer.num_heads * channels))
    for head in range(layer.num_heads):
        own = slice(head * channels, (head + 1) * channels)
        projected = [weights["project.weight"][own] @ node for node in nodes]
        for i in range(num_nodes):
            scores = []
            for j in range(num_nodes):
                raw = weights["of_node"][head] @ projected[i] + weights["of_neighbour"][head] @ projected[j]
                scores.append((raw if raw > 0 else 0.2 * raw) + affinity[i, j])
            shares = np.exp(scores) / np.exp(scores).sum()
            summed = sum(share * other for share, other in zip(shares, projected, strict=True)) + weights["bias"][own]
            result[i, own] = np.where(summed > 0, summed, np.exp(summed) - 1)
    return result


@pytest.mark.parametrize(("num_heads", "num_nodes"), [(1, 1), (1, 5), (3, 6)])
def test_graph_attention_is_that_of_loops_over_nodes(num_heads, num_nodes):
    torch.manual_seed(0)
    layer = GraphAttention(4, 5, num_heads)
    nn.init.normal_(layer.bias)
    nodes, affinity = torch.randn(2, num_nodes, 4), torch.randn(2, num_nodes, num_nodes)
    found = layer(nodes, affinity).detach().numpy()
    assert found.shape == (2, num_nodes, num_heads * 5)
    for image in range(2):
        expected = gathered_by_loops(layer, nodes[image].double().numpy(), affinity[image].double().numpy())
        assert np.allclose(found[image], expected, atol=1e-5)


def test_affinity_is_the_mean_product_and_graph_attention_of_two_nodes_is_as_by_hand():
    nodes = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    assert affinity_of(nodes).tolist() == [[[2.5, 0.5], [0.5, 5.0]]]
    layer = GraphAttention(1, 1, 1)
    with torch.no_grad():
        for parameter, value in ((layer.project.weight, 1.0), (layer.of_node, -1.0), (layer.of_neighbour, 2.0)):
            parameter.fill_(value)
    # node 0 is 1, node 1 is 3; scores of node 0: -1+2·1 = 1 and -1+2·3 = 5; of node 1: 0.2·(-3+2) = -0.2 and 3
    found = layer(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]))
    first = (math.exp(5) * 1 + math.exp(5) * 3) / (2 * math.exp(5))
    second = (math.exp(-0.2) * 1 + math.exp(3) * 3) / (math.exp(-0.2) + math.exp(3))
    assert found.flatten().tolist() == pytest.approx([first, second], rel=1e-6)


# The network


def test_network_takes_the_patch_embeddings_as_its_skip_and_raises_logits_as_the_source_raises_features():
    model, seen, features = vit_gat(SMALL).eval(), [], []
    model.fuse.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model.dropout.register_forward_hook(lambda _, __, output: features.append(output))
    pixels = torch.rand(2, 3, 32, 48)
    with torch.inference_mode():
        logits, embedded = model(pixels), model.encoder.vit.patch_embed.proj(pixels)
        raised = nn.functional.interpolate(features[0], size=(32, 48), mode="bilinear", align_corners=False)
        assert torch.allclose(logits, model.head(raised), atol=1e-5)
    assert seen[0].shape == (2, 128 + 96, 4, 6)
    assert torch.equal(seen[0][:, 128:], embedded)


def test_every_pixel_reaches_every_other():
    model = vit_gat(SMALL).eval()
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    model(pixels)[0, 0, 0, 0].backward()
    assert (pixels.grad != 0).float().mean() > 0.99


def test_encoder_gives_timms_own_features():
    torch.manual_seed(3)
    model = vit_gat(ModelSpec(num_bands=3, num_outputs=1)).eval()
    timms = timm.create_model("vit_small_patch16_224", class_token=False, global_pool="avg", fc_norm=False)
    timms.load_state_dict(model.encoder.vit.state_dict(), strict=False)
    pixels = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        expected = timms.eval().forward_features(pixels)
        assert torch.allclose(model.encoder(pixels)[1].flatten(1, 2), expected, atol=1e-5)
