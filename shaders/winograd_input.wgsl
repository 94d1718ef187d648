// First step of a Winograd convolution F({{ size - 2 }}x{{ size - 2 }}, 3x3) (Lavin and Gray, 2015): the inputs of each tile, transformed.
//
//   y = B^T d B   of the {{ size }}x{{ size }} pixels d under each tile of {{ size - 2 }}x{{ size - 2 }} outputs, for each channel
//
// x is [N, C, H, W] by strides, channels side by side; beyond its edges it is zero. y is [{{ 'high or low part, ' if split }}position of the transform,
// k / {{ bk }}, tile, k % {{ bk }}], where k are the channels up to a multiple of {{ bk }}, the rest zero: what a workgroup of the product
// loads lies side by side. One invocation for {{ vec }} channels of a tile.
{% if split %}
//
// A number is cut into two of f16, whose sum has 22 bits of it: the high part has the first 11, the low part is what is left.
// Beyond what the high part holds it becomes NaN, which reaches every output of the tile.
{% endif %}
//
// The host guarantees: the tiles of count rows lie within the workspace y, and the pixels under them within x's binding.
{% from "parts/winograd.wgsl" import input_transform, roots %}
{% extends "bases/kernel.wgsl" %}
{% set F = 'f32' if vec == 1 else 'vec%d<f32>' % vec %}
{% set H = 'f16' if vec == 1 else 'vec%d<f16>' % vec %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{{ roots() }}
{% endblock %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * params.row_items) {
    return;
  }
  // a block of channels fastest, then the tiles of a row, then the blocks: neighbours write side by side
  let block = index / ({{ bk // vec }} * params.tiles_x) % params.k_blocks;
  let channel = block * {{ bk // vec }} + index % {{ bk // vec }};
  let rest = index / params.row_items * params.tiles_x + index / {{ bk // vec }} % params.tiles_x;
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
  let d{{ i }}_{{ j }} = select({{ F }}(), {{ F }}(x[select(0, origin + row{{ i }} * params.x_row + column{{ j }} * params.x_column, within{{ i }} && inside{{ j }})]), within{{ i }} && inside{{ j }});
{% endfor %}
{{ input_transform(size, 't' ~ i ~ '_{0}', 'd' ~ i ~ '_{0}') -}}
{% endfor %}

  let at = params.base_y + (block * params.tiles + tile) * {{ bk // vec }} + channel % {{ bk // vec }};
{% for j in range(size) %}
{{ input_transform(size, 'v{0}_' ~ j, 't{0}_' ~ j) -}}
{% for i in range(size) %}
{% if split %}
  put(at + {{ i * size + j }} * params.position_items, v{{ i }}_{{ j }});
{% else %}
  y[at + {{ i * size + j }} * params.position_items] = v{{ i }}_{{ j }};
{% endif %}
{% endfor %}
{% endfor %}
{% endblock %}
{% block store %}
{% if split %}
fn put(at: i32, value: {{ F }}) {
  // from bits that compilers cannot see through: they refuse a constant that is NaN
  let nan = bitcast<f32>(0x7fc00000u | (u32(params.first) & 0u));
  let held = select(value, {{ F }}(nan), abs(value) > {{ F }}(65504.0));
  // by its bits: compilers make nothing of a number less itself as f16 and back
  let high = bitcast<{{ F }}>(bitcast<{{ F | replace('f32', 'u32') }}>(held) & {{ F | replace('f32', 'u32') }}(0xffffe000u));
  y[at] = {{ H }}(high);
  y[at + params.y_low] = {{ H }}(held - high);
}
{% endif %}
{% endblock %}
