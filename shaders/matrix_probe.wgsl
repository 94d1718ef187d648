// C = 2·A·B on the matrix units: A [{{ matrix.m }}, {{ matrix.k }}] and B [{{ matrix.k }}, {{ matrix.n }}] of f16, C [{{ matrix.m }}, {{ matrix.n }}] of {{ result }}, all row-major.
//
// One of the products is made of arrays of scalars, and one as the kernels make them: of workgroup memory in items of 16
// bytes, B turned{{ ', and the sums leave through that memory' if result == 'f32' }}.
// The host guarantees: one workgroup, which is one subgroup of {{ matrix.lanes }} invocations; every binding is exactly one matrix;
// m, n and k are multiples of eight.
{% import "parts/matrix_units.wgsl" as units with context %}
enable f16;
{{ units.enables() }}
@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<{{ result }}>;
{% set b_at = matrix.m * matrix.k // 8 %}
{% set sums_at = b_at + matrix.n * matrix.k // 8 %}

var<workgroup> memory: array<vec4<u32>, {{ sums_at + matrix.m * matrix.n // 4 }}>;

fn bits(low: f16, high: f16) -> u32 {
  return pack2x16float(vec2<f32>(f32(low), f32(high)));
}

{{ units.functions(operands=['a', 'b', 'memory'], sums=['c', 'memory'], sums_type=result, words=['memory']) }}
@compute @workgroup_size({{ matrix.lanes }})
fn main(@builtin(local_invocation_index) local_index: u32) {
  let left = {{ units.load_left('a', 0, matrix.k) }};
  let right = {{ units.load_right('b', 0, matrix.n) }};
  var sums: {{ units.sums_type(result) }};
  sums = {{ units.multiply_accumulate('left', 'right', 'sums') }};
  for (var item = i32(local_index); item < {{ sums_at }}; item += {{ matrix.lanes }}) {
    if (item < {{ b_at }}) {
      let at = item * 8;
      memory[item] = vec4<u32>(bits(a[at], a[at + 1]), bits(a[at + 2], a[at + 3]), bits(a[at + 4], a[at + 5]), bits(a[at + 6], a[at + 7]));
    } else {
      let at = (item - {{ b_at }}) % {{ matrix.k // 8 }} * {{ 8 * matrix.n }} + (item - {{ b_at }}) / {{ matrix.k // 8 }};
      memory[item] = vec4<u32>({% for e in range(0, 8, 2) %}bits(b[at + {{ e * matrix.n }}], b[at + {{ (e + 1) * matrix.n }}]){{ ', ' if not loop.last }}{% endfor %});
    }
  }
  workgroupBarrier();
  let left_words = {{ units.load_left('memory', 0, matrix.k // 8, words=true) }};
  let right_words = {{ units.load_right('memory', b_at, matrix.k // 8, words=true, turned=true) }};
  sums = {{ units.multiply_accumulate('left_words', 'right_words', 'sums') }};
{% if result == 'f32' %}
  {{ units.store('memory', sums_at, 'sums', matrix.n // 4, words=true) }};
  workgroupBarrier();
  for (var item = i32(local_index); item < {{ matrix.m * matrix.n }}; item += {{ matrix.lanes }}) {
    c[item] = bitcast<f32>(memory[{{ sums_at }} + item / 4][item % 4]);
  }
{% else %}
  {{ units.store('c', 0, 'sums', matrix.n) }};
{% endif %}
}
