// Convolution as an implicit matrix product over channels-last tensors.
//
//   y[m, n] = epilogue(sum over k of x[pixel(m, k), channel(k)] * w[k, n]),   k = (tap, channel), channel fastest
//
// m counts the output pixels of all images, n the output channels of one group, k the taps of the window times the input
// channels of the group. Nothing is gathered in memory: the loader computes where row m of the column matrix lies in x,
// and reads zeros where the window hangs over an edge.
{% if dense %}
//
// Here the window is one pixel, and pixels lie evenly spaced: x is a matrix, whose rows are loaded as they are.
{% endif %}
{% if deformable %}
//
// Each tap of each pixel is moved by an offset, y before x, {{ 'and weighed by a mask, ' if has_mask }}which lie by pixel and tap. x is then read between four
// pixels. Offsets may be anything: what they lead outside of x reads zeros.
{% if integer %}
// What is read becomes a byte, by a scale and a zero point behind it, as DynamicQuantizeLinear makes it, less the zero point.
{% endif %}
{% endif %}
//
// Layouts: x  by strides, channels side by side{{ '' if x_vec == 4 else ' or not' }}{{ ', four bytes of them in a word' if x_bytes }}; w  [group, K up to a multiple of {{ bk }}, N up to a multiple of {{ bn }}], the rest
// zero{{ ', four signed bytes of successive n in a word' if bytes }}; y  by pixel_y elements a pixel, channels side by side. Each workgroup computes a tile of {{ bm }} pixels x {{ bn }} channels, each
// invocation {{ tm }} x {{ tn }} of it, in steps of {{ bk }} along k.
{% if w_zeros or w_scales %}
// A weight is its byte{{ ' less the zero point' if w_zeros }}{{ ' times the scale' if w_scales }} of its n, [group, N]{{ ' each, scales first' if w_zeros and w_scales }}.
{% endif %}
{% if partial %}
// The k axis is cut into parts, for layers with too few tiles to fill a GPU: workgroup z computes one part of the sums, and a
// second kernel (conv_sum) adds the parts.
{% endif %}
//
{% if k_parts | default(1) > 1 %}
// The k axis is cut into {{ k_parts }} parts, for layers with too few tiles to fill a GPU: as many teams of a workgroup's invocations
// compute one each, in step, and add their sums at the end. Steps along k are padded to as many for each.
{% endif %}
//
// The host guarantees: count pixels lie within every binding.
{% extends "bases/tile.wgsl" %}
{% set kind = 'i32' if integer else 'f32' %}
{% set buffers = 1 %}
{% set turns = true %}
{% block loads %}
{% if x_bytes %}

fn unsigned_bytes(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}
{% endif %}
{% if integer %}

var<private> zero_point: vec4<i32>;
{% if deformable %}
var<private> scale_of_x: f32;

fn quantized(a0: F) -> I {
  let a1 = F(scale_of_x);
  let a2 = f32(zero_point.x);
  return I({{ quantized }});
}
{% endif %}
{% endif %}
{% if not dense %}
{% include "parts/conv_loader.wgsl" %}
{% endif %}
{% if bytes %}

fn signed_bytes(word: u32) -> vec4<i32> {
  return vec4<i32>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}
{% endif %}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
{% if integer %}
{% if deformable %}
  scale_of_x = x_quantization[params.base_x_quantization];
  zero_point = vec4<i32>(i32(x_quantization[params.base_x_quantization + 1]));
{% else %}
  zero_point = vec4<i32>({{ 'i32(x_zero[params.base_x_zero])' if has_zero else '0' }});
{% endif %}
{% endif %}
{% include "parts/conv_begin.wgsl" %}
{% if w_zeros or w_scales %}
  // an invocation loads all its weights from the same four columns
  let w_column = params.base_{{ 'w_scale' if w_scales else 'w_zero' }} + (group * params.n_padded + tile_n) / 4 + local % {{ n4s }};
{% if w_scales %}
  let scale_of_n = w_scale[w_column];
{% endif %}
{% if w_zeros %}
  let zero_of_n = {{ 'w_scale[w_column + params.w_zero_row]' if w_scales else 'w_zero[w_column]' }};
{% endif %}
{% endif %}

{% include "parts/tile_begin.wgsl" %}
{% with item = S %}
{% include "parts/tile_ahead.wgsl" %}
{% endwith %}
{% set at_a = 'team * ' ~ (bm * k4s) ~ ' + ' if k_parts > 1 else '' %}
{% set at_b = 'team * ' ~ (bk * n4s) ~ ' + ' if k_parts > 1 else '' %}

{% if k_parts == 1 %}
  let steps = last_step - first_step;
{% endif %}
  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var step = -1; step < steps; step += 1) {
    if (step + 1 < steps) {
{% for l in range(a_loads) %}
{% if dense %}
      a_next{{ l }} = {{ S }}({{ 'unsigned_bytes(x[x_at' ~ l ~ '])' if x_bytes else 'x[x_at' ~ l ~ ']' }}){{ ' - zero_point' if integer }};
{% elif x_vec == 4 %}
      a_next{{ l }} = load_x(p{{ l }}, tap_y, tap_x, first_channel + channel);
{% else %}
      a_next{{ l }} = load_x(p{{ l }}, k, first_channel);
{% endif %}
{% endfor %}
{% for l in range(b_loads) %}
{% set item = 'w[w_at + (local + ' ~ l * members ~ ') / ' ~ n4s ~ ' * w_row + (local + ' ~ l * members ~ ') % ' ~ n4s ~ ']' %}
{% if bytes %}
      b_next{{ l }} = {{ '(' if w_zeros and w_scales }}{{ S }}(signed_bytes({{ item }})){{ ' - zero_of_n' if w_zeros }}{{ ')' if w_zeros and w_scales }}{{ ' * scale_of_n' if w_scales }};
{% else %}
      b_next{{ l }} = {{ S }}({{ item }});
{% endif %}
{% endfor %}
{% include "parts/conv_advance.wgsl" %}
    }
    if (step >= 0) {
{% include "parts/tile_multiply.wgsl" %}
    }
    workgroupBarrier();
{% for l in range(a_loads) %}
{% if turned %}
{% set four = l // 4 * 4 %}
{% set e = 'xyzw'[l % 4] %}
    tile_a[{{ at_a }}(load_k4 * 4 + {{ l % 4 }}) * {{ bm // 4 }} + ((load_m / 4 + {{ l // 4 * a_step // 4 }}) ^ (load_k4 * {{ mix }}))] = {{ S }}(a_next{{ four }}.{{ e }}, a_next{{ four + 1 }}.{{ e }}, a_next{{ four + 2 }}.{{ e }}, a_next{{ four + 3 }}.{{ e }});
{% else %}
    tile_a[{{ at_a }}load_k4 * {{ bm }} + ((load_m + {{ l * a_step }}) ^ (load_k4 * {{ mix }}))] = a_next{{ l }};
{% endif %}
{% endfor %}
{% for l in range(b_loads) %}
    tile_b[{{ at_b }}local + {{ l * members }}] = b_next{{ l }};
{% endfor %}
    workgroupBarrier();
  }
{% if k_parts > 1 %}

  // the sums of the later half of the teams are added to those of the earlier one, until one is left
{% for half in (8, 4, 2, 1) if half < k_parts %}
  if (team >= {{ half }} && team < {{ 2 * half }}) {
{% for i in range(tm) %}
{% for j in range(tn4) %}
    tile_a[((team - {{ half }}) * {{ tm * tn4 }} + {{ i * tn4 + j }}) * {{ members }} + local] = c{{ i }}_{{ j }};
{% endfor %}
{% endfor %}
  }
  workgroupBarrier();
  if (team < {{ half }}) {
{% for i in range(tm) %}
{% for j in range(tn4) %}
    c{{ i }}_{{ j }} += tile_a[(team * {{ tm * tn4 }} + {{ i * tn4 + j }}) * {{ members }} + local];
{% endfor %}
{% endfor %}
  }
  workgroupBarrier();
{% endfor %}
  if (team > 0) {
    return;
  }
{% endif %}
{% with inside = 'm <= last_m', row = 'm, group', part = ', part' if partial else '' %}
{% include "parts/tile_store.wgsl" %}
{% endwith %}
{% endblock %}
{% block store %}
{% include "parts/conv_store.wgsl" %}
{% endblock %}
