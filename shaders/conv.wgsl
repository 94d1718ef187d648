// Convolution as an implicit matrix product over channels-last tensors.
//
//   y[m, n] = epilogue(sum over k of x[pixel(m, k), channel(k)] * w[k, n]),   k = (tap, channel), channel fastest
//
// m counts the output pixels of all images, n the output channels of one group, k the taps of the window times the input
// channels of the group. Nothing is gathered in memory: the loader computes where row m of the column matrix lies in x,
// and reads zeros where the window hangs over an edge.
{% if deformable %}
//
// Each tap of each pixel is moved by an offset, y before x, {{ 'and weighed by a mask, ' if has_mask }}which lie by pixel and tap. x is then read between four
// pixels. Offsets may be anything: what they lead outside of x reads zeros.
{% endif %}
//
// Layouts: x  by strides, channels side by side{{ '' if x_vec == 4 else ' or not' }}; w  [group, K up to a multiple of {{ bk }}, N up to a multiple of {{ bn }}], the rest
// zero; y  by pixel_y elements a pixel, channels side by side. Each workgroup computes a tile of {{ bm }} pixels x {{ bn }} channels, each
// invocation {{ tm }} x {{ tn }} of it, in steps of {{ bk }} along k. Named accumulators, since compilers keep arrays in memory.
{% if splits %}
// The k axis is cut in {{ splits }}: workgroup z computes one part of the sums, and a second kernel (conv_sum) adds the parts. For layers with too few tiles to fill a GPU.
{% endif %}
//
// The host guarantees: count pixels lie within every binding.
{% include "parts/params.wgsl" %}
{% set threads = (bm // tm) * (bn // tn) %}
{% set rows = bm // tm %}
{% set columns = bn // tn %}
{% set k4s = bk // 4 %}
{% set n4s = bn // 4 %}
{% set tn4 = tn // 4 %}
{% set a_loads = bm * k4s // threads %}
{% set b_loads = bk * n4s // threads %}
{% set a_step = threads // k4s %}
{% set S = 'vec4<i32>' if integer else 'vec4<f32>' %}
{% set vec = 4 if vector else 1 %}
{% include "parts/types.wgsl" %}
{% for name in functions %}
{% include "functions/" ~ name ~ ".wgsl" %}
{% endfor %}

// x, four values of k for each pixel: [k / 4][m]; the low bits of m are mixed with k so that stores meet no bank twice
var<workgroup> tile_a: array<{{ S }}, {{ bm * k4s * buffers }}>;
// w: [k][n / 4]
var<workgroup> tile_b: array<{{ S }}, {{ bk * n4s * buffers }}>;

{% include "parts/conv_loader.wgsl" %}
{% if integer %}

var<private> zero_point: vec4<i32>;
{% endif %}

@compute @workgroup_size({{ threads }})
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(local_invocation_index) local_index: u32,
) {
{% if integer %}
  zero_point = vec4<i32>({{ 'i32(x_zero[params.base_x_zero])' if has_zero else '0' }});
{% endif %}
{% include "parts/conv_begin.wgsl" %}

  // this invocation's part of the tile: rows m, m + {{ rows }}, … and channels 4 n4, 4 (n4 + {{ columns }}), …
  let own_m = local / {{ columns }};
  let own_n4 = local % {{ columns }};
{% for i in range(tm) %}
{% for j in range(tn4) %}
  var c{{ i }}_{{ j }} = {{ S }}();
{% endfor %}
{% endfor %}
{% macro fetch() %}
{% for l in range(a_loads) %}
{% if x_vec == 4 %}
    a_next{{ l }} = load_x(p{{ l }}, tap_y, tap_x, first_channel + channel);
{% else %}
    a_next{{ l }} = load_x(p{{ l }}, k, first_channel);
{% endif %}
{% endfor %}
{% for l in range(b_loads) %}
    b_next{{ l }} = {{ S }}(w[w_at + (local + {{ l * threads }}) / {{ n4s }} * w_row + (local + {{ l * threads }}) % {{ n4s }}]);
{% endfor %}
{% endmacro %}
{% macro advance() %}
    w_at += {{ bk }} * w_row;
{% if x_vec == 4 %}
    channel += {{ bk }};
    while (channel >= params.channels) {
      channel -= params.channels;
      tap_x += 1;
      if (tap_x == params.kernel_x) {
        tap_x = 0;
        tap_y += 1;
      }
    }
{% else %}
    k += {{ bk }};
{% endif %}
{% endmacro %}
{% for l in range(a_loads) %}
  var a_next{{ l }} = {{ S }}();
{% endfor %}
{% for l in range(b_loads) %}
  var b_next{{ l }} = {{ S }}();
{% endfor %}

{% if buffers == 2 %}
  var half = 0;
{% endif %}
{% set at_a = 'half * ' ~ (bm * k4s) ~ ' + ' if buffers == 2 else '' %}
{% set at_b = 'half * ' ~ (bk * n4s) ~ ' + ' if buffers == 2 else '' %}
  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var step = first_step - 1; step < last_step; step += 1) {
    if (step + 1 < last_step) {
{{ fetch() -}}
{{ advance() -}}
    }
    if (step >= first_step) {
{% for k4 in range(k4s) %}
      {
{% for i in range(tm) %}
        let a{{ i }} = tile_a[{{ at_a }}{{ k4 * bm }} + ((own_m + {{ i * rows }}) ^ {{ k4 * (8 // k4s) }})];
{% endfor %}
{% for kk in range(4) %}
{% for j in range(tn4) %}
        let b{{ kk }}_{{ j }} = tile_b[{{ at_b }}{{ (k4 * 4 + kk) * n4s + j * columns }} + own_n4];
{% endfor %}
{% for i in range(tm) %}
{% for j in range(tn4) %}
{% if integer %}
        c{{ i }}_{{ j }} += a{{ i }}.{{ 'xyzw'[kk] }} * b{{ kk }}_{{ j }};
{% else %}
        c{{ i }}_{{ j }} = fma(vec4<f32>(a{{ i }}.{{ 'xyzw'[kk] }}), b{{ kk }}_{{ j }}, c{{ i }}_{{ j }});
{% endif %}
{% endfor %}
{% endfor %}
{% endfor %}
      }
{% endfor %}
    }
{% if buffers == 2 %}
    half = 1 - half;
{% else %}
    workgroupBarrier();
{% endif %}
{% for l in range(a_loads) %}
    tile_a[{{ at_a }}load_k4 * {{ bm }} + ((load_m + {{ l * a_step }}) ^ (load_k4 * {{ 8 // k4s }}))] = a_next{{ l }};
{% endfor %}
{% for l in range(b_loads) %}
    tile_b[{{ at_b }}local + {{ l * threads }}] = b_next{{ l }};
{% endfor %}
    workgroupBarrier();
  }
{% for i in range(tm) %}
  {
    let m = tile_m + own_m + {{ i * rows }};
    if (m <= last_m) {
{% for j in range(tn4) %}
      store(m, group, tile_n + (own_n4 + {{ j * columns }}) * 4, c{{ i }}_{{ j }}{{ ', part' if splits }});
{% endfor %}
    }
  }
{% endfor %}
}
{% include "parts/conv_store.wgsl" %}
