{# store(m, group, n, sums): what a convolution's kernel does with four sums; parts of the k axis go to memory as they are. #}
{% if partial %}

fn store(m: i32, group: i32, n: i32, sums: {{ S }}, part: i32) {
  // y is [m, part, group, n_padded]
  y[params.base_y + ((m * params.splits + part) * params.groups + group) * (params.n_padded / 4) + n / 4] = sums;
}
{% else %}

fn store(m: i32, group: i32, n: i32, sums: {{ S }}){{ ' -> ' ~ stored if stored | default('') }} {
{% include "parts/epilogue.wgsl" %}
}
{% endif %}
