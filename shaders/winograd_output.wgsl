// Last step of a Winograd convolution F({{ size - 2 }}x{{ size - 2 }}, 3x3): the outputs of each tile.
//
//   y[pixel, n] = epilogue(A^T x A)   for the {{ size - 2 }}x{{ size - 2 }} pixels of each tile, of the {{ size }}x{{ size }} products x of winograd_product
//
// x is [position of the transform, tile, n up to a whole tile of the product]; y lies by pixel_y elements a pixel, channels side
// by side. One invocation for four channels of a tile. Pixels of a tile beyond the picture are not written.
//
{% if pooled %}
// The largest of each square of 2 x 2 pixels goes to `pooled`, too. A square over an edge has the pixels on the picture.
//
{% endif %}
// The host guarantees: the tiles of count rows lie within the workspace x, and their pixels within every other binding.
{% from "parts/winograd.wgsl" import output_transform, roots %}
{% extends "bases/kernel.wgsl" %}
{% set vec = 4 if vector else 1 %}
{% set S = 'vec4<f32>' %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{{ roots() }}
{% endblock %}
{# what is stored of pixel r, q of the tile #}
{% macro stored_at(pixel, r, q) -%}
store({{ pixel }}, n4 * 4, y{{ r }}_{{ q }}{{ ' * unscaled' if scaled }})
{%- endmacro %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * params.row_items) {
    return;
  }
  let n4 = index % params.n4s;
  let rest = index / params.n4s;
{% include "parts/winograd_tile.wgsl" %}
{% if scaled %}
  let unscaled = unscale[params.base_unscale + n4];
{% endif %}
  let at = params.base_x + tile * params.tile_items + n4;
{% for j in range(size) %}
{% for i in range(size) %}
  let m{{ i }}_{{ j }} = x[at + {{ i * size + j }} * params.position_items];
{% endfor %}
{{ output_transform(size, 's{0}_' ~ j, 'm{0}_' ~ j) -}}
{% endfor %}
{% for r in range(size - 2) %}
{{ output_transform(size, 'y' ~ r ~ '_{0}', 's' ~ r ~ '_{0}') -}}
{% endfor %}
{% if pooled %}
{% for r in range(0, size - 2, 2) %}
{% for q in range(0, size - 2, 2) %}
  if (out_y + {{ r }} < params.out_height && out_x + {{ q }} < params.out_width) {
    let line = (image * params.out_height + out_y + {{ r }}) * params.out_width + out_x + {{ q }};
    let has_right = out_x + {{ q + 1 }} < params.out_width;
    let has_below = out_y + {{ r + 1 }} < params.out_height;
    var largest = F({{ stored_at('line', r, q) }});
    if (has_right) {
      largest = larger(largest, F({{ stored_at('line + 1', r, q + 1) }}));
    }
    if (has_below) {
      largest = larger(largest, F({{ stored_at('line + params.out_width', r + 1, q) }}));
    }
    if (has_right && has_below) {
      largest = larger(largest, F({{ stored_at('line + params.out_width + 1', r + 1, q + 1) }}));
    }
    let pooled_row = out_y / 2 + {{ r // 2 }};
    let pooled_column = out_x / 2 + {{ q // 2 }};
    if (pooled_row < params.pooled_height && pooled_column < params.pooled_width) {
      let square = (image * params.pooled_height + pooled_row) * params.pooled_width + pooled_column;
      pooled[params.base_pooled + square * (params.channels_out / 4) + n4] = {{ pooled }}(largest);
    }
  }
{% endfor %}
{% endfor %}
{% else %}
{% for r in range(size - 2) %}
  {
    let pixel_row = out_y + {{ r }} * params.dilation;
    if (pixel_row < params.out_height) {
      let line = (image * params.out_height + pixel_row) * params.out_width;
{% for q in range(size - 2) %}
      if (out_x + {{ q }} * params.dilation < params.out_width) {
        {{ stored_at('line + out_x + %d * params.dilation' % q, r, q) }};
      }
{% endfor %}
    }
  }
{% endfor %}
{% endif %}
{% endblock %}
{% block store %}
fn store(m: i32, n: i32, sums: {{ S }}){{ ' -> ' ~ stored if stored | default('') }} {
  let group = 0;
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
