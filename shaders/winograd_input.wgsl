// First step of a Winograd convolution F({{ size - 2 }}x{{ size - 2 }}, 3x3) (Lavin and Gray, 2015): the inputs of each tile, transformed.
//
//   y = B^T d B   of the {{ size }}x{{ size }} pixels d under each tile of {{ size - 2 }}x{{ size - 2 }} outputs, for each channel
//
// x is [N, C, H, W] by strides, channels side by side; beyond its edges it is zero. y is [position of the transform,
// k / {{ bk }}, tile, k % {{ bk }}], where k are the channels up to a multiple of {{ bk }}, the rest zero: what a workgroup of winograd_product
// loads lies side by side. One invocation for {{ vec }} channels of a tile.
//
// The host guarantees: the tiles of count rows lie within the workspace y, and the pixels under them within x's binding.
{% from "parts/winograd.wgsl" import input_transform, roots %}
{% extends "bases/kernel.wgsl" %}
{% set T = 'F' %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{{ roots() }}
{% endblock %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * params.row_items) {
    return;
  }
  let channel = index % params.k_items;
  let rest = index / params.k_items;
{% include "parts/winograd_tile.wgsl" %}
  let origin = params.base_x + image * params.x_image + channel;
{% for j in range(size) %}
  let column{{ j }} = out_x - params.pad_x + {{ j }} * params.dilation;
  let inside{{ j }} = column{{ j }} >= 0 && column{{ j }} < params.width && channel < params.channel_items;
{% endfor %}
{% for i in range(size) %}
  let row{{ i }} = out_y - params.pad_y + {{ i }} * params.dilation;
  let within{{ i }} = row{{ i }} >= 0 && row{{ i }} < params.height;
{% for j in range(size) %}
  let d{{ i }}_{{ j }} = select(F(), F(x[select(0, origin + row{{ i }} * params.x_row + column{{ j }} * params.x_column, within{{ i }} && inside{{ j }})]), within{{ i }} && inside{{ j }});
{% endfor %}
{{ input_transform(size, 't' ~ i ~ '_{0}', 'd' ~ i ~ '_{0}') -}}
{% endfor %}

  let at = params.base_y + (channel / {{ bk // vec }} * params.tiles + tile) * {{ bk // vec }} + channel % {{ bk // vec }};
{% for j in range(size) %}
{{ input_transform(size, 'v{0}_' ~ j, 't{0}_' ~ j) -}}
{% for i in range(size) %}
  y[at + {{ i * size + j }} * params.position_items] = v{{ i }}_{{ j }};
{% endfor %}
{% endfor %}
{% endblock %}
