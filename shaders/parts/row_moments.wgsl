{# Moments of rows (kernels/convolution/row_moments.py): for each share of the channels of a row, those of a tile, their mean, and
   the sum of squared distances from it. They lie as [blocks of `block` rows][shares][rows of a block].

   `moment_lanes` neighbouring invocations, a power of two, have four channels each of a row. They join what they have two by
   two, so that sums keep their accuracy, and one of them leaves the result, a part, in workgroup memory. `parts` of these,
   of equal size, are the share of a whole tile. #}
{% set block = 64 %}
{# loads that are under way together #}
{% set ahead = 4 %}
{% set part = moment_lanes * 4 %}
{% set parts = bn // part if moment_lanes else 0 %}
{% macro declarations() %}

// Where the moments of the first share of row m lie; those of the next are {{ block }} further.
fn moments_at(m: i32, shares: i32) -> i32 {
  return m / {{ block }} * shares * {{ block }} + m % {{ block }};
}
{% if moment_lanes %}

// moments of parts of the tile: [row][part]
var<workgroup> part_moments: array<vec2<f32>, {{ bm * parts }}>;
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
      part_moments[({{ row }}) * {{ parts }} + ({{ column }}) / {{ part }}] = moments;
    }
{% endmacro %}

{# writes the moments of the tile's share of each row #}
{% macro store() %}
  workgroupBarrier();
  let parts = min({{ parts }}, (params.n - tile_n) / {{ part }});
  for (var row = local; row < min({{ bm }}, last_m + 1 - tile_m); row += {{ invocations }}) {
    let near = part_moments[row * {{ parts }}].x;
    var distance = 0.0;
    for (var i = 1; i < parts; i += 1) {
      distance += part_moments[row * {{ parts }} + i].x - near;
    }
    distance /= f32(parts);
    var squares = 0.0;
    for (var i = 0; i < parts; i += 1) {
      let of_part = part_moments[row * {{ parts }} + i];
      let from_mean = of_part.x - near - distance;
      squares += of_part.y + from_mean * from_mean * {{ part }}.0;
    }
    let shares = (params.n + {{ bn - 1 }}) / {{ bn }};
    y_moments[params.base_y_moments + moments_at(tile_m + row, shares) + tile_n / {{ bn }} * {{ block }}] = vec2<f32>(near + distance, squares);
  }
{% endmacro %}
