// Winograd convolution F(2x2, 3x3) (Lavin and Gray, 2015) on matrix units, in one kernel: nothing lies in memory between its steps.
//
//   y = A^T [Σ over channels of (B^T d B) · u] A   of the 4x4 pixels d under each tile of 2x2 outputs, · position by position
//
// Each workgroup computes {{ height }} x {{ width }} tiles and {{ outputs }} channels. For every {{ matrix.k }} input channels its invocations transform the pixels
// under the tiles, into workgroup memory; each subgroup multiplies {{ 16 // subgroups }} of the 16 positions, for all tiles and channels. At the end
// the sums of a row of fragments go through workgroup memory, position by position, and are transformed there.
{% if parts == 2 %}
// Operands are f32, cut into two f16 whose sum has 22 bits of the number. Three products, high · high, high · low and low · high, go
// into the same f32 sums. Numbers are scaled by powers of two, and sums scaled back by unscale, one factor a channel. What the high
// part does not hold becomes NaN, which reaches every output of the tile.
{% endif %}
//
// x: channels side by side; beyond its edges it is zero. w: [{{ 'high or low part, ' if parts == 2 }}position, channel / {{ matrix.k }}, n / {{ matrix.n }}] fragments of
// {{ matrix.k }} x {{ matrix.n }}, transformed. Rows of a dispatch are lines of workgroups, image after image.
// The host guarantees: count lines lie within every binding; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; w and unscale are padded to whole blocks and workgroups with zeros.
{% from "parts/winograd.wgsl" import input_transform %}
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set lanes = matrix.lanes %}
{% set invocations = subgroups * lanes %}
{% set positions = 16 // subgroups %}
{% set tiles = height * width %}
{% set rows = tiles // matrix.m %}
{% set columns = outputs // matrix.n %}
{% set items = matrix.k // x_vec %}
{% set rounds = tiles * items // invocations %}
{% set stride = matrix.k + gap %}
{% set fragment = matrix.m * matrix.n %}
{% set n4s = matrix.n // 4 %}
{% set names = ['high', 'low'][:parts] %}
{% set products = [('high', 'high'), ('high', 'low'), ('low', 'high')] if parts == 2 else [('high', 'high')] %}
{% set V = 'vec%d<f32>' % x_vec %}
{% set H = 'vec%d<f16>' % x_vec %}
{% set S = 'vec4<f32>' %}
{% set vec = 4 if vector else 1 %}
{% block declarations %}

{% for name in names %}
// [position][tile][channel]
var<workgroup> {{ name }}: array<f16, {{ 16 * tiles * stride }}>;
{% endfor %}
// [position] fragments, four f32 an item
var<workgroup> sums: array<vec4<u32>, {{ 4 * fragment }}>;

{{ units.functions(operands=names + ['w'], sums=['sums'], words=['sums']) }}
fn keep(at: i32, value: {{ V }}) {
  let scaled = value * bitcast<f32>(params.scale);
{% if parts == 2 %}
  // from bits that compilers cannot see through: they refuse a constant that is NaN
  let nan = bitcast<f32>(0x7fc00000u | (u32(params.first) & 0u));
  let held = select(scaled, {{ V }}(nan), abs(scaled) > {{ V }}(65504.0));
  // by its bits: compilers make nothing of a number less itself as f16 and back
  let head = bitcast<{{ V }}>(bitcast<vec{{ x_vec }}<u32>>(held) & vec{{ x_vec }}<u32>(0xffffe000u));
  let head_part = {{ H }}(head);
  let rest_part = {{ H }}(held - head);
{% for e in range(x_vec) %}
  high[at + {{ e }}] = head_part.{{ 'xyzw'[e] }};
  low[at + {{ e }}] = rest_part.{{ 'xyzw'[e] }};
{% endfor %}
{% else %}
  let part = {{ H }}(scaled);
{% for e in range(x_vec) %}
  high[at + {{ e }}] = part.{{ 'xyzw'[e] }};
{% endfor %}
{% endif %}
}

fn four_sums(at: i32) -> {{ S }} {
  return bitcast<{{ S }}>(sums[at]);
}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let subgroup = local / {{ lanes }};
  let tile_n = i32(workgroup_id.x) * {{ outputs }};
  let line = params.first + i32(workgroup_id.y) / params.workgroups_a_line;
  let image = line / params.lines;
  let first_y = (line - image * params.lines) * {{ height }};
  let first_x = i32(workgroup_id.y) % params.workgroups_a_line * {{ width }};

  // this invocation's share of the transforms: channels {{ x_vec }} item, … of tiles own_tile, own_tile + {{ invocations // items }}, …
  let item = local % {{ items }};
  let own_tile = local / {{ items }};
{% for r in range(rounds) %}
  let tile{{ r }} = own_tile + {{ r * (invocations // items) }};
  let y{{ r }} = (first_y + tile{{ r }} / {{ width }}) * 2 - params.pad_y;
  let x{{ r }} = (first_x + tile{{ r }} % {{ width }}) * 2 - params.pad_x;
  var from{{ r }} = params.base_x + image * params.x_image + y{{ r }} * params.x_row + x{{ r }} * params.x_column + item;
{% for i in range(4) %}
  let row{{ r }}_{{ i }} = y{{ r }} + {{ i }} >= 0 && y{{ r }} + {{ i }} < params.height;
  let column{{ r }}_{{ i }} = x{{ r }} + {{ i }} >= 0 && x{{ r }} + {{ i }} < params.width;
{% for j in range(4) %}
  var d{{ r }}_{{ i }}_{{ j }} = {{ V }}();
{% endfor %}
{% endfor %}
{% endfor %}
  var w_at = params.base_w + (subgroup * {{ positions }} * params.k_fragments * params.n_fragments + tile_n / {{ matrix.n }}) * {{ matrix.k * matrix.n }};
  let w_position = params.k_fragments * params.n_fragments * {{ matrix.k * matrix.n }};
{% for p in range(positions) %}
{% for i in range(rows) %}
{% for j in range(columns) %}
  var c{{ p }}_{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}
{% endfor %}

  // the loads of a block are under way while the block before it multiplies: the first round only loads
  for (var k = -1; k < params.k_fragments; k += 1) {
    if (k + 1 < params.k_fragments) {
      let has_item = (k + 1) * {{ items }} + item < params.channel_items;
{% for r in range(rounds) %}
{% for i in range(4) %}
{% for j in range(4) %}
      {
        // no branch: what lies outside reads the binding's first item, and counts as zero
        let inside = has_item && row{{ r }}_{{ i }} && column{{ r }}_{{ j }};
        d{{ r }}_{{ i }}_{{ j }} = select({{ V }}(), {{ V }}(x[select(0, from{{ r }} + {{ i }} * params.x_row + {{ j }} * params.x_column, inside)]), inside);
      }
{% endfor %}
{% endfor %}
      from{{ r }} += {{ items }};
{% endfor %}
    }
    if (k >= 0) {
{% for p in range(positions) %}
      {
{% for name in names %}
{% for j in range(columns) %}
        let right_{{ name }}{{ j }} = {{ units.load_right('w', 'w_at + %d * w_position + %d%s' % (p, j * matrix.k * matrix.n, ' + params.w_low' if name == 'low' else ''), matrix.n) }};
{% endfor %}
{% endfor %}
{% for i in range(rows) %}
{% for name in names %}
        let left_{{ name }}{{ i }} = {{ units.load_left(name, '(subgroup * %d + %d) * %d + %d' % (positions, p, tiles * stride, i * matrix.m * stride), stride) }};
{% endfor %}
{% for l, r in products %}
{% for j in range(columns) %}
        c{{ p }}_{{ i }}_{{ j }} = {{ units.multiply_accumulate('left_%s%d' % (l, i), 'right_%s%d' % (r, j), 'c%d_%d_%d' % (p, i, j)) }};
{% endfor %}
{% endfor %}
{% endfor %}
      }
{% endfor %}
      w_at += params.n_fragments * {{ matrix.k * matrix.n }};
    }
    workgroupBarrier();
    if (k + 1 < params.k_fragments) {
{% for r in range(rounds) %}
    {
{% for i in range(4) %}
{{ input_transform(4, 't' ~ i ~ '_{0}', 'd' ~ r ~ '_' ~ i ~ '_{0}') -}}
{% endfor %}
      let at = tile{{ r }} * {{ stride }} + item * {{ x_vec }};
{% for j in range(4) %}
{{ input_transform(4, 'v{0}_' ~ j, 't{0}_' ~ j) -}}
{% for i in range(4) %}
      keep(at + {{ (i * 4 + j) * tiles * stride }}, v{{ i }}_{{ j }});
{% endfor %}
{% endfor %}
    }
{% endfor %}
    }
    workgroupBarrier();
  }

{% for i in range(rows) %}
{% for j in range(columns) %}
  workgroupBarrier();
{% for p in range(positions) %}
  {{ units.store('sums', '(subgroup * %d + %d) * %d' % (positions, p, fragment // 4), 'c%d_%d_%d' % (p, i, j), n4s, words=true) }};
{% endfor %}
  workgroupBarrier();
  for (var share = local; share < {{ matrix.m * n4s * 4 }}; share += {{ invocations }}) {
    put(share, {{ i * matrix.m }}, tile_n + {{ j * matrix.n }}, image, first_y, first_x);
  }
{% endfor %}
{% endfor %}
{% endblock %}
{% block store %}
// One of the four outputs of a tile, of four channels: share counts those of a fragment, whose first tile and channel are given.
fn put(share: i32, first_tile: i32, first_n: i32, image: i32, first_y: i32, first_x: i32) {
  let n4 = share % {{ n4s }};
  let tile = share / {{ n4s }} % {{ matrix.m }};
  let down = share / {{ 2 * matrix.m * n4s }};
  let across = share / {{ matrix.m * n4s }} % 2;
  let pixel_y = (first_y + (first_tile + tile) / {{ width }}) * 2 + down;
  let pixel_x = (first_x + (first_tile + tile) % {{ width }}) * 2 + across;
  let n = first_n + n4 * 4;
  if (pixel_y >= params.out_height || pixel_x >= params.out_width || n >= params.n) {
    return;
  }
  // positions from (down, across) on: the first counts as it is, the other two of an axis less for the second output
  let at = (down * 4 + across) * {{ fragment // 4 }} + tile * {{ n4s }} + n4;
  let sign_y = f32(1 - 2 * down);
  let sign_x = f32(1 - 2 * across);
{% for a in range(3) %}
  let line{{ a }} = four_sums(at + {{ a * fragment }}) + sign_x * (four_sums(at + {{ a * fragment + fragment // 4 }}) + four_sums(at + {{ a * fragment + fragment // 2 }}));
{% endfor %}
  store((image * params.out_height + pixel_y) * params.out_width + pixel_x, n, (line0 + sign_y * (line1 + line2)) * unscale[params.base_unscale + n / 4]);
}

fn store(m: i32, n: i32, sums: {{ S }}) {
  let group = 0;
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
