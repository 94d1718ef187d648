{# Moments of rows (kernels/convolution/row_moments.py): for each share of the channels of a row, those of a tile, their mean, and
   the sum of squared distances from it. They lie as [blocks of `block` rows][shares][rows of a block].

   Each invocation leaves those of the four that it stores where its sums were. `moment_lanes` neighbours, a power of two, then
   join what they have of a row two by two, so that sums keep their accuracy, and one of them leaves the result, a part, in the
   gap behind the row of sums. All parts of a row are joined behind the next barrier. That takes no workgroup memory of its own,
   which would have fewer workgroups run side by side, and loads of one turn need not wait for the exchanges of another. #}
{% set block = 64 %}
{# loads that are under way together #}
{% set ahead = 8 %}
{% set part = moment_lanes * 4 %}
{# of a subgroup's row of sums #}
{% set parts = sn // part if moment_lanes else 0 %}
{% set part_at = 'i / %d * %d + i %% %d' % (parts, across_k * matrix.m * sums_row, parts) if parts != 1 else 'i * %d' % (across_k * matrix.m * sums_row) %}
{# where row `row` of the rows of sums that begin at `sums` lies #}
{% macro row_at(sums, row) -%}
{{ sums }} + ({{ row }}) / {{ matrix.m }} * {{ row_size }} + ({{ row }}) % {{ matrix.m }} * {{ sums_row }}
{%- endmacro %}
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

fn moments_of_four(four: vec4<f32>) -> vec4<u32> {
  let mean = dot(four, vec4<f32>(0.25));
  let distances = four - mean;
  return kept_moments(vec2<f32>(mean, dot(distances, distances)));
}

fn kept_moments(moments: vec2<f32>) -> vec4<u32> {
  return vec4<u32>(bitcast<vec2<u32>>(moments), 0u, 0u);
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

{# leaves the moments of the parts of `count` rows of fragments; all invocations come here.
   Those of `packed` turns are joined together: of two turns' an invocation keeps one's, and hands its neighbour the other's. #}
{% macro join(count) %}
{% set turns = count * matrix.m * fours // (across_k * lanes) %}
{% set packed = 8 if turns % 8 == 0 and moment_lanes >= 8 else 4 if turns % 4 == 0 and moment_lanes >= 4 else 2 if turns % 2 == 0 and moment_lanes >= 2 else 1 %}
{% for from in range(0, turns, packed) %}
  {
{% for turn in range(packed) %}
    let item{{ turn }} = {{ (from + turn) * across_k * lanes }} + share;
    var moments{{ turn }} = bitcast<vec2<f32>>(memory[{{ row_at('own_sums', 'item%d / %d' % (turn, fours)) }} + item{{ turn }} % {{ fours }}].xy);
{% endfor %}
{% for step in [1, 2, 4, 8, 16] if step < moment_lanes %}
{% if step < packed %}
{% for turn in range(0, packed, 2 * step) %}
    {
      let hands_first = (share & {{ step }}) != 0;
      let handed = select(moments{{ turn + step }}, moments{{ turn }}, hands_first);
{{ units.exchange('other', 'handed', step) }}
      moments{{ turn }} = joined_moments(select(moments{{ turn }}, moments{{ turn + step }}, hands_first), other, {{ step * 2 }}.0);
    }
{% endfor %}
{% else %}
    {
{{ units.exchange('other', 'moments0', step) }}
      moments0 = joined_moments(moments0, other, {{ step * 2 }}.0);
    }
{% endif %}
{% endfor %}
    if (share % {{ moment_lanes }} < {{ packed }}) {
      let item = {{ from * across_k * lanes }} + share % {{ packed }} * {{ across_k * lanes }} + share;
      memory[{{ row_at('own_sums', 'item / %d' % fours) }} + {{ fours }} + item % {{ fours }} / {{ moment_lanes }}] = kept_moments(moments0);
    }
  }
{% endfor %}
{% endmacro %}

{# writes the moments of the tile's share of each row of the `count` rows of fragments from `first` on of each subgroup #}
{% macro store(first, count) %}
  for (var item = local; item < {{ bm // sm * count * matrix.m }}; item += {{ invocations }}) {
    let own_row = item % {{ count * matrix.m }};
    let m = tile_m + item / {{ count * matrix.m }} * {{ sm }} + {{ first * matrix.m }} + own_row;
    if (m <= last_m) {
      let parts_at = {{ row_at('item / %d * %d' % (count * matrix.m, bn // sn * across_k * matrix.m * sums_row), 'own_row') }} + {{ fours }};
      let parts = min({{ bn // sn * parts }}, (params.n - tile_n) / {{ part }});
      let near = bitcast<f32>(memory[parts_at].x);
      var distance = 0.0;
      for (var i = 1; i < parts; i += 1) {
        distance += bitcast<f32>(memory[parts_at + {{ part_at }}].x) - near;
      }
      distance /= f32(parts);
      var squares = 0.0;
      for (var i = 0; i < parts; i += 1) {
        let of_part = bitcast<vec2<f32>>(memory[parts_at + {{ part_at }}].xy);
        let from_mean = of_part.x - near - distance;
        squares += of_part.y + from_mean * from_mean * {{ part }}.0;
      }
      let shares = (params.n + {{ bn - 1 }}) / {{ bn }};
      y_moments[params.base_y_moments + moments_at(m, shares) + tile_n / {{ bn }} * {{ block }}] = vec2<f32>(near + distance, squares);
    }
  }
{% endmacro %}
