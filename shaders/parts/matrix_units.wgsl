{# Matrix units: products of fragments that a subgroup holds together. `matrix` says how many invocations a subgroup has
   (lanes), what a fragment is (left m x k, right k x n, both of f16; sums m x n of f32), and how WGSL is spelled: `dawn` for
   Dawn's subgroup matrices, `wgpu` for naga's cooperative matrices. Arrays are of scalars, or of vec4<u32> (`words`), whose
   items have the bits of eight f16 or four f32, so that stores of 16 bytes fill them; naga loads fragments from arrays of
   scalars alone, so that the probe refuses its units. Offsets and strides are counted in items. Matrices are row-major, but
   for right operands that are `turned`.

   The third spelling, `emulated`, is for tests alone: plain WGSL, in which a fragment of an operand is a place in an array, and
   each invocation reads what its own sums need when it multiplies. No value crosses between invocations but by `exchange`,
   through workgroup memory, so that a kernel computes the same without matrix units, slowly.

   All invocations of a subgroup call these together. An array that operands were loaded from is not written again before they
   are multiplied, and what is stored is read by others behind a barrier only. #}

{% set each = matrix.m * matrix.n // matrix.lanes %}
{% set lanes_a_row = matrix.n // each %}
{% set lane = 'i32(local_index) % ' ~ matrix.lanes %}

{# what stands before all else in a shader, behind `enable f16` #}
{% macro enables() %}
{% if matrix.spelling == 'dawn' %}
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
{% elif matrix.spelling == 'wgpu' %}
enable wgpu_cooperative_matrix;
{% endif %}
{% endmacro %}

{# the functions of the emulation, for the arrays that fragments are loaded from and stored to #}
{% macro functions(operands, sums, sums_type='f32', words=[], loaded=[]) %}
{% if matrix.spelling == 'emulated' %}
// Invocation l of a subgroup has the {{ each }} sums of row l / {{ lanes_a_row }} from column l % {{ lanes_a_row }} * {{ each }} on.
struct MatrixSums {
{% for i in range(each) %}
  at{{ i }}: f32,
{% endfor %}
}

// Element k of row m, or of column n, lies at offset + k * along + m or n * across.
struct MatrixOperand {
  array: i32,
  offset: i32,
  along: i32,
  across: i32,
}

fn matrix_element(array: i32, at: i32) -> f32 {
{% for name in operands %}
  if (array == {{ loop.index0 }}) {
{% if name in words %}
    return unpack2x16float({{ name }}[at / 8][at % 8 / 2])[at % 2];
{% else %}
    return f32({{ name }}[at]);
{% endif %}
  }
{% endfor %}
  return 0.0;
}

{% for name in operands %}
const matrix_{{ name }} = {{ loop.index0 }};
{% endfor %}

fn multiply_accumulate(left: MatrixOperand, right: MatrixOperand, sums: MatrixSums, lane: i32) -> MatrixSums {
  var total = sums;
  let row = left.offset + lane / {{ lanes_a_row }} * left.across;
  var column = right.offset + lane % {{ lanes_a_row }} * {{ each }} * right.across;
  // an end that no compiler knows: what it unrolls takes it seconds
  let end = select({{ matrix.k }}, 0, lane < 0);
  for (var k = 0; k < end; k += 1) {
    let x = matrix_element(left.array, row + k * left.along);
{% for i in range(each) %}
    total.at{{ i }} += x * matrix_element(right.array, column + {{ i }} * right.across);
{% endfor %}
    column += right.along;
  }
  return total;
}
{% for name in sums %}

fn store_sums_{{ name }}(offset: i32, fragment: MatrixSums, stride: i32, lane: i32) {
  let at = offset + lane / {{ lanes_a_row }} * stride + lane % {{ lanes_a_row }} * {{ each }};
{% if name in words %}
{% for i in range(0, each, 4) %}
  {{ name }}[at / 4 + {{ i // 4 }}] = bitcast<vec4<u32>>(vec4<f32>(fragment.at{{ i }}, fragment.at{{ i + 1 }}, fragment.at{{ i + 2 }}, fragment.at{{ i + 3 }}));
{% endfor %}
{% else %}
{% for i in range(each) %}
  {{ name }}[at + {{ i }}] = {{ sums_type }}(fragment.at{{ i }});
{% endfor %}
{% endif %}
}
{% endfor %}
{% for name in loaded %}

fn load_sums_{{ name }}(offset: i32, stride: i32, lane: i32) -> MatrixSums {
  let at = offset + lane / {{ lanes_a_row }} * stride + lane % {{ lanes_a_row }} * {{ each }};
  return MatrixSums({% for i in range(each) %}f32({{ name }}[at + {{ i }}]){{ ', ' if not loop.last }}{% endfor %});
}
{% endfor %}
{% endif %}
{% endmacro %}

{# the type of a fragment of sums, for a `var` of zeros #}
{% macro sums_type(type='f32') -%}
{% if matrix.spelling == 'dawn' -%}
subgroup_matrix_result<{{ type }}, {{ matrix.n }}, {{ matrix.m }}>
{%- elif matrix.spelling == 'wgpu' -%}
coop_mat{{ matrix.n }}x{{ matrix.m }}<{{ type }}, C>
{%- else -%}
MatrixSums
{%- endif %}
{%- endmacro %}

{# m x k from element `offset` of an array of f16 on #}
{% macro load_left(array, offset, stride, words=false) -%}
{% if matrix.spelling == 'dawn' -%}
subgroupMatrixLoad<subgroup_matrix_left<f16, {{ matrix.k }}, {{ matrix.m }}>, row_major>(&{{ array }}, u32({{ offset }}), u32({{ stride }}))
{%- elif matrix.spelling == 'wgpu' -%}
coopLoadT<coop_mat{{ matrix.k }}x{{ matrix.m }}<f16, A>>(&{{ array }}[{{ offset }}], u32({{ stride }}))
{%- else -%}
MatrixOperand(matrix_{{ array }}, ({{ offset }}){{ ' * 8' if words }}, 1, {{ stride }}{{ ' * 8' if words }})
{%- endif %}
{%- endmacro %}

{# k x n from element `offset` of an array of f16 on; `turned` where its columns lie one behind the other #}
{% macro load_right(array, offset, stride, words=false, turned=false) -%}
{% if matrix.spelling == 'dawn' -%}
subgroupMatrixLoad<subgroup_matrix_right<f16, {{ matrix.n }}, {{ matrix.k }}>, {{ 'col_major' if turned else 'row_major' }}>(&{{ array }}, u32({{ offset }}), u32({{ stride }}))
{%- elif matrix.spelling == 'wgpu' -%}
{{ 'coopLoad' if turned else 'coopLoadT' }}<coop_mat{{ matrix.n }}x{{ matrix.k }}<f16, B>>(&{{ array }}[{{ offset }}], u32({{ stride }}))
{%- elif turned -%}
MatrixOperand(matrix_{{ array }}, ({{ offset }}){{ ' * 8' if words }}, 1, {{ stride }}{{ ' * 8' if words }})
{%- else -%}
MatrixOperand(matrix_{{ array }}, ({{ offset }}){{ ' * 8' if words }}, {{ stride }}{{ ' * 8' if words }}, 1)
{%- endif %}
{%- endmacro %}

{# m x n sums from element `offset` of an array of f32 on #}
{% macro load_sums(array, offset, stride) -%}
{% if matrix.spelling == 'dawn' -%}
subgroupMatrixLoad<subgroup_matrix_result<f32, {{ matrix.n }}, {{ matrix.m }}>, row_major>(&{{ array }}, u32({{ offset }}), u32({{ stride }}))
{%- elif matrix.spelling == 'wgpu' -%}
coopLoadT<coop_mat{{ matrix.n }}x{{ matrix.m }}<f32, C>>(&{{ array }}[{{ offset }}], u32({{ stride }}))
{%- else -%}
load_sums_{{ array }}({{ offset }}, {{ stride }}, {{ lane }})
{%- endif %}
{%- endmacro %}

{# left · right + sums #}
{% macro multiply_accumulate(left, right, sums) -%}
{% if matrix.spelling == 'dawn' -%}
subgroupMatrixMultiplyAccumulate({{ left }}, {{ right }}, {{ sums }})
{%- elif matrix.spelling == 'wgpu' -%}
coopMultiplyAdd({{ left }}, {{ right }}, {{ sums }})
{%- else -%}
multiply_accumulate({{ left }}, {{ right }}, {{ sums }}, {{ lane }})
{%- endif %}
{%- endmacro %}

{# the m x n sums to the array, from element `offset` on: a statement, without its semicolon #}
{% macro store(array, offset, sums, stride, words=false) -%}
{% if matrix.spelling == 'dawn' -%}
subgroupMatrixStore<row_major>(&{{ array }}, u32({{ offset }}), {{ sums }}, u32({{ stride }}))
{%- elif matrix.spelling == 'wgpu' -%}
coopStoreT({{ sums }}, &{{ array }}[{{ offset }}], u32({{ stride }}))
{%- else -%}
store_sums_{{ array }}(({{ offset }}){{ ' * 4' if words }}, {{ sums }}, {{ stride }}{{ ' * 4' if words }}, {{ lane }})
{%- endif %}
{%- endmacro %}

{# the two f16 of a word; naga does not take the bits as they are #}
{% macro pair(word) -%}
{% if matrix.spelling == 'dawn' -%}
bitcast<vec2<f16>>({{ word }})
{%- else -%}
vec2<f16>(unpack2x16float({{ word }}))
{%- endif %}
{%- endmacro %}

{# the bits of four f16 as two words #}
{% macro words(four) -%}
{% if matrix.spelling == 'dawn' -%}
bitcast<vec2<u32>>({{ four }})
{%- else -%}
vec2<u32>(pack2x16float(vec2<f32>({{ four }}.xy)), pack2x16float(vec2<f32>({{ four }}.zw)))
{%- endif %}
{%- endmacro %}

{# what `exchange` needs for values of `type` in a workgroup of so many invocations #}
{% macro exchange_memory(type, invocations) %}
{% if matrix.spelling != 'dawn' %}
var<workgroup> exchanged: array<{{ type }}, {{ invocations }}>;
{% endif %}
{% endmacro %}

{# statements: `name` is `value` of the invocation whose lane is this one's xor `mask` #}
{% macro exchange(name, value, mask) %}
{% if matrix.spelling == 'dawn' %}
      let {{ name }} = subgroupShuffleXor({{ value }}, {{ mask }}u);
{% else %}
      workgroupBarrier();
      exchanged[local_index] = {{ value }};
      workgroupBarrier();
      let {{ name }} = exchanged[local_index ^ {{ mask }}u];
{% endif %}
{% endmacro %}
