// C = A·B on the matrix units: A [{{ matrix.m }}, {{ matrix.k }}] and B [{{ matrix.k }}, {{ matrix.n }}] of f16, C [{{ matrix.m }}, {{ matrix.n }}] of {{ result }}, all row-major.
//
// The host guarantees: one workgroup, which is one subgroup of {{ matrix.lanes }} invocations; every binding is exactly one matrix.
{% import "parts/matrix_units.wgsl" as units with context %}
enable f16;
{{ units.enables() }}
@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<{{ result }}>;

{{ units.functions(operands=['a', 'b'], sums=['c'], sums_type=result) }}
@compute @workgroup_size({{ matrix.lanes }})
fn main(@builtin(local_invocation_index) local_index: u32) {
  let left = {{ units.load_left('a', 0, matrix.k) }};
  let right = {{ units.load_right('b', 0, matrix.n) }};
  var sums: {{ units.sums_type(result) }};
  sums = {{ units.multiply_accumulate('left', 'right', 'sums') }};
  {{ units.store('c', 0, 'sums', matrix.n) }};
}
