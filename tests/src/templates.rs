//! Chat templates as published models have them.

use kinglet_quant::frame::Order;

/// Templates that are frames, as published models have them, and the conversations they take.
pub const FRAMES: [(&str, Order, &str); 11] = [
    (
        "SmolLM",
        Order::Any,
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + \
         message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    (
        "SmolLM2",
        Order::Any,
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
         {{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}\
         {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    (
        "ChatML with trimmed contents and a line break between messages",
        Order::Any,
        "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}\
         {{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content | trim ~ '<|im_end|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "Zephyr, TinyLlama",
        Order::Any,
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + \
         message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n\
         {{ '<|system|>\n' + message['content'] + eos_token }}\n\
         {% elif message['role'] == 'assistant' %}\n\
         {{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n\
         {% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n\
         {% endfor %}\n",
    ),
    (
        "Llama 3",
        Order::Any,
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = \
         '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + \
         message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = \
         bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    (
        "Gemma",
        Order::Turns,
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
         {{ raise_exception('System role not supported') }}{% endif %}\
         {% for message in messages %}\
         {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
         {{ raise_exception('roles must alternate') }}{% endif %}\
         {% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}\
         {% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + \
         message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    ),
    (
        "Mistral",
        Order::Turns,
        "{{ bos_token }}{% for message in messages %}\
         {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
         {{ raise_exception('roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
         {% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}\
         {% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}\
         {% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}\
         {% endfor %}",
    ),
    (
        "Vicuna",
        Order::Turns,
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
         {% set system_message = messages[0]['content'] %}{% else %}\
         {% set loop_messages = messages %}{% set system_message = 'A chat.' %}{% endif %}\
         {{ system_message }}{% for message in loop_messages %}\
         {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
         {{ raise_exception('roles must alternate') }}{% endif %}\
         {% if message['role'] == 'user' %}{{ ' USER: ' + message['content'].strip() }}\
         {% else %}{{ ' ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
    ),
    (
        "Alpaca",
        Order::Any,
        "{{ bos_token }}{% for message in messages %}\n\
         {%- if message.role == 'system' -%}{{ message.content + '\n\n' }}\n\
         {%- elif message.role == 'user' -%}\n\
         {{ '### Instruction:\n' + message.content + '\n\n' }}\n\
         {%- else -%}{{ '### Response:\n' + message.content + eos_token + '\n\n' }}\n\
         {%- endif -%}{% endfor %}\n\
         {%- if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}",
    ),
    (
        "Phi 3",
        Order::Any,
        "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + \
         message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + \
         message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}\
         {{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    ),
    (
        "system messages only in front",
        Order::Turns,
        "{% if messages[0].role == 'system' %}{{ '<sys>' + messages[0].content + '</sys>' }}\
         {% endif %}{% for m in messages %}{% if m.role != 'system' %}\
         {{ '<' + m.role + '>' + m.content + '\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}",
    ),
];

/// Templates that no frame stands for.
pub const WHOLE: [&str; 6] = [
    // Llama 2: the system message lies inside the first user message
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set \
     system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set \
     system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 \
     and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + \
     '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}\
     {% endif %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' + eos_token }}{% endfor %}",
    // Thoughts are left out of what an assistant said
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + \
     '<|im_end|>\n' }}{% endfor %}",
    // The last message ends in another way
    "{% for m in messages %}{{ m.role + ': ' + m.content }}{% if loop.last %}{{ '!' }}{% else %}\
     {{ eos_token }}{% endif %}{% endfor %}",
    // White space in front only
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' + m.content.lstrip() + '\n' }}\
     {% endfor %}",
    // The separator of frames
    "{% for m in messages %}{{ m.role + '\u{1f}' + m.content + '\n' }}{% endfor %}",
    "{{ messages | tojson }}",
];
