"""The report page as a Jinja template; what it shows is prepared in report_views.py.

A Python string, because a template file would be invisible to the digest that tells whether the
report is up to date. Everything is escaped; only the charts come in as finished markup.
"""

PAGE = """\
{%- macro mark(verdict) -%}
<span class="mark {{ verdict.css }}"><span aria-hidden="true">{{ verdict.sign }}</span>
{{ verdict.word }}</span>
{%- endmacro -%}
{%- macro checks(finding) -%}
<details{% if not finding.passed %} open{% endif %}>
<summary>{{ mark(finding.verdict) }} {{ finding.words }}
<span class="quiet">{{ finding.who }}</span></summary>
<ul class="checks">
{% for check in finding.checks %}<li>{{ mark(check.verdict) }} <strong>{{ check.name }}</strong>
<span class="quiet">{{ check.evidence }}</span></li>
{% endfor %}</ul>
</details>
{%- endmacro -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>{{ css }}</style>
</head>
<body>
<a class="skip" href="#answer">Skip to the answer</a>
<header>
<h1>{{ title }}</h1>
<nav aria-label="Sections"><ul>
{% for anchor, name in sections %}<li><a href="#{{ anchor }}">{{ name }}</a></li>
{% endfor %}</ul></nav>
</header>
<main>
<section id="answer" aria-labelledby="answer-title">
<h2 id="answer-title">The answer</h2>
<div class="card answer">
{% for answer in answers %}<p class="lead">{{ answer.words }}</p>
<p class="quiet">{{ answer.numbers }}</p>
{% else %}<p>No fine-tune was compared with its base{% if benchmarks or held_out %}; the scores are
below{% else %}: there is no benchmark{% endif %}.</p>
{% endfor %}</div>
{% for note in notes %}<p class="note">{{ note }}</p>
{% endfor %}{% if answers %}<p class="quiet">Differences are in percentage points, ± one standard
error of the paired differences. <em>Better</em> and <em>worse</em> mean p &lt; {{ significance }}
in the exact McNemar test on the questions that flipped{% if held_out %}, and for perplexity in a
test that flips the signs of the conversations' differences{% endif %}{% if judged %}, and for
judged pairs in the exact sign test of wins against losses{% endif %}. {{ comparisons }}</p>
{% endif %}</section>

{% if held_out %}{% include "held_out" %}{% endif %}
{% if benchmarks %}<section id="scores" aria-labelledby="scores-title">
<h2 id="scores-title">Scores</h2>
{% for benchmark in benchmarks %}<div class="card">
<h3>{{ benchmark.name }}</h3>
<p class="quiet">{{ benchmark.protocol }}</p>
{% for note in benchmark.notes %}<p class="note">{{ note }}</p>
{% endfor %}<div class="scroll" role="region" tabindex="0"
aria-label="Scores of {{ benchmark.name }}">
<table>
<caption>Accuracy in %, difference in points</caption>
<thead><tr><th scope="col">Category</th>
{% for column in benchmark.columns %}<th scope="col">{{ column.name }}
<small>{{ column.role }}</small></th>
{% endfor %}</tr></thead>
<tbody>
{% for row in benchmark.rows %}<tr{% if loop.first %} class="total"{% endif %}>
<th scope="row">{{ row.category }} <small>{{ row.questions }}</small></th>
{% for cell in row.cells %}<td><span class="score">{{ cell.score }}</span>
{% if cell.change %}<small>{{ cell.change }} {{ mark(cell.verdict) }}</small>
<small>{{ cell.flips }}</small>
{% else %}<small>{{ cell.error }}</small>
{% endif %}</td>
{% endfor %}</tr>
{% endfor %}</tbody>
</table>
</div>
{% if benchmark.chart %}{{ benchmark.chart }}{% endif %}
</div>
{% endfor %}</section>{% endif %}

{% if judged %}{% include "judged" %}{% endif %}
{% if trainings %}<section id="training" aria-labelledby="training-title">
<h2 id="training-title">Training</h2>
{% for training in trainings %}<div class="card pair">
<div>
<h3>{{ training.who }} {{ mark(training.verdict) }}</h3>
<p>{{ training.evidence }}</p>
<p class="quiet">{{ training.remedy }}</p>
<dl>{% for term, value in training.settings %}<dt>{{ term }}</dt><dd>{{ value }}</dd>
{% endfor %}</dl>
</div>
<div>{% if training.chart %}{{ training.chart }}{% else %}<p class="quiet">There is no loss to
draw.</p>{% endif %}</div>
</div>
{% endfor %}</section>
{% endif %}
{% if ledgers %}<section id="data" aria-labelledby="data-title">
<h2 id="data-title">Data</h2>
{% for ledger in ledgers %}<div class="card">
<h3>{{ ledger.name }} <span class="quiet">used by {{ ledger.who }}</span></h3>
<div class="scroll" role="region" tabindex="0"
 aria-label="Each {{ ledger.what }} of {{ ledger.name }}">
<table>
<caption>What became of each {{ ledger.what }}</caption>
<thead><tr>{% for heading in ledger.counts %}<th scope="col">{{ heading }}</th>
{% endfor %}</tr></thead>
<tbody><tr>{% for value in ledger.counts.values() %}<td>{{ value }}</td>{% endfor %}</tr></tbody>
</table>
</div>
{% if ledger.reasons %}<dl>{% for reason, count in ledger.reasons %}<dt>{{ reason }}</dt>
<dd>{{ count }}</dd>
{% endfor %}</dl>
{% endif %}</div>
{% endfor %}</section>
{% endif %}
{% if contracts or proofs %}<section id="proofs" aria-labelledby="proofs-title">
<h2 id="proofs-title">Proofs</h2>
{% if contracts %}<div class="card"><h3>Chat template</h3>
<p class="quiet">What the template was proved to do before anything was trained on it.</p>
{% for finding in contracts %}{{ checks(finding) }}
{% endfor %}</div>
{% endif %}{% if proofs %}<div class="card"><h3>Merge</h3>
<p class="quiet">Whether the merged model answers like its base with the adapter.</p>
{% for finding in proofs %}{{ checks(finding) }}
{% endfor %}</div>
{% endif %}</section>
{% endif %}
<section id="provenance" aria-labelledby="provenance-title">
<h2 id="provenance-title">Provenance</h2>
{% for candidate in provenance %}<div class="card">
<h3>{{ candidate.name }} <span class="quiet">{{ candidate.role }}</span></h3>
{% for step in candidate.steps %}<details>
<summary>{{ step.stage }} <code>{{ step.id }}</code></summary>
<dl><dt>key</dt><dd><code>{{ step.key }}</code></dd>
<dt>content</dt><dd><code>{{ step.content }}</code></dd>
<dt>spec</dt><dd><code>{{ step.spec }}</code></dd>
<dt>libraries</dt><dd><code>{{ step.pins }}</code></dd></dl>
</details>
{% endfor %}</div>
{% endfor %}</section>

{% if costs %}<section id="cost" aria-labelledby="cost-title">
<h2 id="cost-title">Time and memory</h2>
<div class="card">
<p class="quiet">What each artifact took when it was made, here or by whoever shared it.</p>
<div class="scroll" role="region" tabindex="0" aria-label="Time and memory">
<table>
<caption>{{ total }} in all</caption>
<thead><tr><th scope="col">Step</th><th scope="col" class="words">Artifact</th>
<th scope="col">Time</th><th scope="col">Peak memory</th></tr></thead>
<tbody>
{% for cost in costs %}<tr><th scope="row">{{ cost.stage }}</th>
<td class="words"><code>{{ cost.slug }}</code></td>
<td>{{ cost.time }}<span class="bar" style="width:{{ cost.share }}%" aria-hidden="true"></span></td>
<td>{{ cost.memory }}</td></tr>
{% endfor %}</tbody>
</table>
</div></div>
</section>
{% endif %}</main>
<footer><p>Made by Tunesmith. The same numbers stand in comparison.json, comparison.csv and
comparison.md.</p></footer>
</body>
</html>
"""
