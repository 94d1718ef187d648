{# Mean and standard deviation of each row of a tile, which a product needs of x (kernels/convolution/normalized.py).

   With `x_moments` they are made of the moments of shares of each row (parts/row_moments.wgsl). Else they are taken while x is
   loaded: an invocation has a share of the channels of each row that it loads: their sum and sum of squares, less the mean of
   the first eight, so that a mean far from zero cancels nothing. The shares are joined at the end, one after another, by the
   distances of their means.

   `a_loads` rows an invocation, `eights` invocations a row; `next` are the loads (`halves`, `x_vec`, `split`). #}
{% macro declarations() %}
// mean and inverse deviation of each row of the tile
var<workgroup> statistics: array<vec2<f32>, {{ bm }}>;
{% if not x_moments %}

// The mean and the sum of squared distances from it of what two shares have: `before` shares are joined in `all`.
fn joined(all: vec2<f32>, share: vec2<f32>, before: f32, elements: f32) -> vec2<f32> {
  let distance = share.x - all.x;
  let part = 1.0 / (before + 1.0);
  return vec2<f32>(all.x + distance * part, all.y + share.y + distance * distance * before * part * elements);
}
{% endif %}
{% endmacro %}

{# the four elements of x that a load has in half `half` of its eight #}
{% macro four(l, half) -%}
{% if split -%}
next{{ l }}_{{ half }}
{%- elif x_vec == 8 -%}
vec4<f32>(unpack2x16float(next{{ l }}[{{ half * 2 }}]), unpack2x16float(next{{ l }}[{{ half * 2 + 1 }}]))
{%- else -%}
vec4<f32>(unpack2x16float(next{{ l }}_{{ half }}.x), unpack2x16float(next{{ l }}_{{ half }}.y))
{%- endif %}
{%- endmacro %}

{# behind the first loads #}
{% macro begin() %}
{% if x_moments %}
  for (var row = local; row < {{ bm }}; row += {{ invocations }}) {
    let first_share = params.base_x_moments + moments_at(min(tile_m + row, last_m), params.x_shares);
    let share = 0;
{{ row_moments.load() }}
    // distances from the first mean, so that a mean far from zero keeps its digits
    let near = share0.x;
    var distance = {{ row_moments.distances() }};
    for (var share = {{ row_moments.ahead }}; share < params.x_shares; share += {{ row_moments.ahead }}) {
{{ row_moments.load() }}
      distance += {{ row_moments.distances() }};
    }
    distance /= f32(params.channels);
    let mean = near + distance;
    var squares = {{ row_moments.squares() }};
    for (var share = {{ row_moments.ahead }}; share < params.x_shares; share += {{ row_moments.ahead }}) {
{{ row_moments.load() }}
      squares += {{ row_moments.squares() }};
    }
    statistics[row] = vec2<f32>(mean, 1.0 / sqrt(squares / f32(params.channels) + bitcast<f32>(params.epsilon)));
  }
{% else %}
{% for l in range(a_loads) %}
  let near{{ l }} = dot({{ four(l, 0) }} + {{ four(l, 1) }}, vec4<f32>(0.125));
  var sum{{ l }} = 0.0;
  var squares{{ l }} = 0.0;
{% endfor %}
{% endif %}
{% endmacro %}

{# where a load is stored #}
{% macro add(l) %}
{% if not x_moments %}
      let first_four = {{ four(l, 0) }} - near{{ l }};
      let second_four = {{ four(l, 1) }} - near{{ l }};
      sum{{ l }} += dot(first_four + second_four, vec4<f32>(1.0));
      squares{{ l }} += dot(first_four, first_four) + dot(second_four, second_four);
{% endif %}
{% endmacro %}

{# behind the last step #}
{% macro end() %}
{% if not x_moments %}
  let share_elements = f32(params.steps * 8);
  for (var turn = 0; turn < {{ eights }}; turn += 1) {
    workgroupBarrier();
    if (load_item == turn) {
{% for l in range(a_loads) %}
      {
        let row = load_m + {{ l * a_step }};
        let distance = sum{{ l }} / share_elements;
        let own = vec2<f32>(near{{ l }} + distance, squares{{ l }} - sum{{ l }} * distance);
        var all = joined(select(statistics[row], vec2<f32>(), turn == 0), own, f32(turn), share_elements);
        if (turn == {{ eights - 1 }}) {
          all.y = 1.0 / sqrt(all.y / f32(params.channels) + bitcast<f32>(params.epsilon));
        }
        statistics[row] = all;
      }
{% endfor %}
    }
  }
{% endif %}
{% endmacro %}

{# what `apply` takes of the channels from n on #}
{% macro factors() %}
  let factors_at = params.base_factors + n / 4;
  let factor = factors[factors_at];
  let weights_sum = factors[factors_at + params.n_padded / 4];
  let shift = factors[factors_at + params.n_padded / 2];
{% endmacro %}

{# what the sums `four` of row `row` of the tile become #}
{% macro apply(row) %}
      let of_row = statistics[{{ row }}];
      four = (four * factor - of_row.x * weights_sum) * of_row.y + shift;
{% endmacro %}
