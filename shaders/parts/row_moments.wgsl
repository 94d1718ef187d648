{# Moments of rows (kernels/convolution/row_moments.py): for each share of the channels of a row their mean, and the sum of
   squared distances from it. They lie as [blocks of `block` rows][shares][rows of a block].

   `moment_lanes` neighbouring invocations, a power of two, have four channels each of a share of a row. They join what they
   have two by two, so that sums keep their accuracy, and each of them has the result. #}
{% set block = 64 %}
{% macro functions() %}

// Where the moments of the first share of row m lie; those of the next are {{ block }} further.
fn moments_at(m: i32, shares: i32) -> i32 {
  return m / {{ block }} * shares * {{ block }} + m % {{ block }};
}
{% if moment_lanes %}

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

{# the moments of the share that `four`, what is stored of row m from channel n on, belongs to; all invocations come here #}
{% macro write(four) %}
      var moments = moments_of_four({{ four }});
{% for step in [1, 2, 4, 8, 16] if step < moment_lanes %}
      {
{{ units.exchange('other', 'moments', step) }}
        moments = joined_moments(moments, other, {{ step * 2 }}.0);
      }
{% endfor %}
      if (m <= last_m && n < params.n && item % {{ moment_lanes }} == 0) {
        y_moments[params.base_y_moments + moments_at(m, params.n / {{ moment_lanes * 4 }}) + n / {{ moment_lanes * 4 }} * {{ block }}] = moments;
      }
{% endmacro %}
