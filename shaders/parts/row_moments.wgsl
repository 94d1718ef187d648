{# Moments of rows (kernels/convolution/row_moments.py): for each share of the channels of a row, those of a tile, their mean, and
   the sum of squared distances from it. They lie as [blocks of `block` rows][shares][rows of a block].

   `moment_lanes` neighbouring invocations, a power of two, have four channels each of a row. They join what they have two by
   two, so that sums keep their accuracy, and one of them leaves the result, a part, behind the sums in workgroup memory, from
   `parts_begin` on, where operands were. At the end `moment_parts` of them, of equal size, are the share of a whole tile. #}
{% set block = 64 %}
{# loads that are under way together #}
{% set ahead = 6 %}
{% set part = moment_lanes * 4 %}
{% macro declarations() %}

// Where the moments of the first share of row m lie; those of the next are {{ block }} further.
fn moments_at(m: i32, shares: i32) -> i32 {
  return m / {{ block }} * shares * {{ block }} + m % {{ block }};
}
{% if x_moments %}

// The sum of squared distances from near + distance of so many elements.
fn squares_of(moments: vec2<f32>, near: f32, distance: f32, elements: f32) -> f32 {
  let from_mean = moments.x - near - distance;
  return select(0.0, moments.y + from_mean * from_mean * elements, elements > 0.0);
}
{% endif %}
{% if moment_lanes %}

{{ units.exchange_memory('vec2<f32>', invocations) }}

fn moments_of_four(four: vec4<f32>) -> vec2<f32> {
  let mean = dot(four, vec4<f32>(0.25));
  let distances = four - mean;
  return vec2<f32>(mean, dot(distances, distances));
}

// The moments of two sets of numbers of one size, `half` of that.
fn joined_moments(a: vec2<f32>, b: vec2<f32>, half: f32) -> vec2<f32> {
  let distance = a.x - b.x;
  return vec2<f32>((a.x + b.x) * 0.5, a.y + b.y + distance * distance * half);
}
{% endif %}
{% endmacro %}

{# the moments of shares of x, from `share` on, and how many channels each has: 0 behind the last #}
{% macro load() %}
{% for i in range(ahead) %}
    let share{{ i }} = x_moments[first_share + min(share + {{ i }}, params.x_shares - 1) * {{ block }}];
    let elements{{ i }} = f32(clamp(params.channels - (share + {{ i }}) * params.x_share, 0, params.x_share));
{% endfor %}
{% endmacro %}

{# the sum of their means' distances from `near`, one for each element #}
{% macro distances() -%}
{% for i in range(ahead) %}{{ ' + ' if i }}elements{{ i }} * (share{{ i }}.x - near){% endfor %}
{%- endmacro %}

{# the sum of squared distances from near + distance #}
{% macro squares() -%}
{% for i in range(ahead) %}{{ ' + ' if i }}squares_of(share{{ i }}, near, distance, elements{{ i }}){% endfor %}
{%- endmacro %}

{# leaves the moments of the part that `four`, what is stored of row `row` of the tile from its channel `column` on, belongs to;
   all invocations come here #}
{% macro add(four, row, column) %}
    var moments = moments_of_four({{ four }});
{% for step in [1, 2, 4, 8, 16] if step < moment_lanes %}
    {
{{ units.exchange('other', 'moments', step) }}
      moments = joined_moments(moments, other, {{ step * 2 }}.0);
    }
{% endfor %}
    if (item % {{ moment_lanes }} == 0) {
      memory[{{ parts_begin }} + ({{ row }}) * {{ moment_parts }} + ({{ column }}) / {{ part }}] = vec4<u32>(bitcast<vec2<u32>>(moments), 0u, 0u);
    }
{% endmacro %}

{# writes the moments of the tile's share of each row #}
{% macro store() %}
  workgroupBarrier();
  let parts = min({{ moment_parts }}, (params.n - tile_n) / {{ part }});
  for (var row = local; row < min({{ bm }}, last_m + 1 - tile_m); row += {{ invocations }}) {
    let parts_at = {{ parts_begin }} + row * {{ moment_parts }};
    let near = bitcast<f32>(memory[parts_at].x);
    var distance = 0.0;
    for (var i = 1; i < parts; i += 1) {
      distance += bitcast<f32>(memory[parts_at + i].x) - near;
    }
    distance /= f32(parts);
    var squares = 0.0;
    for (var i = 0; i < parts; i += 1) {
      let of_part = bitcast<vec2<f32>>(memory[parts_at + i].xy);
      let from_mean = of_part.x - near - distance;
      squares += of_part.y + from_mean * from_mean * {{ part }}.0;
    }
    let shares = (params.n + {{ bn - 1 }}) / {{ bn }};
    y_moments[params.base_y_moments + moments_at(tile_m + row, shares) + tile_n / {{ bn }} * {{ block }}] = vec2<f32>(near + distance, squares);
  }
{% endmacro %}
