// The parameters of every kernel. The host cuts large dispatches into ranges of rows: this one computes `count` rows
// from row `first` on. base_<operand> is where element 0 of that tensor lies, in items of the binding; it may be negative,
// since a binding begins at what the range touches first.
{% if uses_f16 %}
enable f16;
{% endif %}
{% if matrix is defined %}
{% import "parts/matrix_units.wgsl" as units with context %}
{{ units.enables() }}
{% endif %}
struct Params {
  first: i32,
  count: i32,
{% for operand in operands %}
  base_{{ operand.name }}: i32,
{% endfor %}
{% for name in uniforms %}
  {{ name }}: i32,
{% endfor %}
}

@group(0) @binding(0) var<uniform> params: Params;
{% for operand in operands %}
@group(0) @binding({{ loop.index }}) var<storage, {{ operand.access }}> {{ operand.name }}: array<{{ operand.item }}>;
{% endfor %}

