// Element-wise code is written for these: one element, or four at a time.
{% if vec == 1 %}
alias F = f32;
alias I = i32;
alias U = u32;
alias B = bool;
{% else %}
alias F = vec4<f32>;
alias I = vec4<i32>;
alias U = vec4<u32>;
alias B = vec4<bool>;
{% endif %}

