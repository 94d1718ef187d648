// Last step of a Winograd convolution F({{ size - 2 }}x{{ size - 2 }}, 3x3): the outputs of each tile.
//
//   y[pixel, n] = epilogue(A^T x A)   for the {{ size - 2 }}x{{ size - 2 }} pixels of each tile, of the {{ size }}x{{ size }} products x of winograd_product
//
// x is [position of the transform, tile, n up to a whole tile of the product]; y lies by pixel_y elements a pixel, channels side
// by side. One invocation for four channels of a tile. Pixels of a tile beyond the picture are not written.
//
// The host guarantees: the tiles of count rows lie within the workspace x, and their pixels within every other binding.
{% from "parts/winograd.wgsl" import output_transform, roots %}
{% extends "bases/kernel.wgsl" %}
{% set vec = 4 if vector else 1 %}
{% set S = 'vec4<f32>' %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{{ roots() }}
{% endblock %}
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
{% for r in range(size - 2) %}
  {
    let pixel_row = out_y + {{ r }} * params.dilation;
    if (pixel_row < params.out_height) {
      let line = (image * params.out_height + pixel_row) * params.out_width;
{% for q in range(size - 2) %}
      if (out_x + {{ q }} * params.dilation < params.out_width) {
        store(line + out_x + {{ q }} * params.dilation, n4 * 4, y{{ r }}_{{ q }}{{ ' * unscaled' if scaled }});
      }
{% endfor %}
    }
  }
{% endfor %}
{% endblock %}
{% block store %}
fn store(m: i32, n: i32, sums: {{ S }}) {
  let group = 0;
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
