/* The explorers of the chapters with no kernel behind them, and no library of widgets: each is a control over a stack of
   pictures, which ipywidgets wrote into the page as it stood when the page was built.  Here they become the browser's own slider or
   buttons; a screen reader hears each picture's alternative text. */

document.addEventListener('DOMContentLoaded', () => {
  const saved = document.querySelectorAll('script[type="application/vnd.jupyter.widget-state+json"]')
  const models = Object.assign({}, ...[...saved].map(script => JSON.parse(script.textContent).state))
  const model = reference => models[reference.replace('IPY_MODEL_', '')].state

  const make = (kind, properties, ...children) => {
    const element = Object.assign(document.createElement(kind), properties)
    element.append(...children)
    return element
  }

  const slider = ({ description, index, _options_labels: labels }, frames, show) => {
    const readout = make('output')
    const input = make('input', { type: 'range', min: 0, max: labels.length - 1, value: index, ariaLabel: description })
    const move = () => {
      const shown = +input.value
      show(shown)
      readout.textContent = labels[shown]
      input.ariaValueText = frames[shown].querySelector('img').alt
    }
    input.addEventListener('input', move)
    move()
    return make('label', { className: 'explorer-control' }, make('span', {}, description), input, readout)
  }

  const buttons = ({ description, index, _options_labels: labels }, frames, show) => {
    const all = labels.map((label, i) => make('button', { type: 'button', onclick: () => press(i) }, label))
    const press = shown => {
      show(shown)
      all.forEach((button, i) => { button.ariaPressed = String(i === shown) })
    }
    press(index)
    const group = make('div', { className: 'explorer-control', ariaLabel: description || 'What the picture shows' }, description, ...all)
    group.setAttribute('role', 'group')
    return group
  }

  for (const view of document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')) {
    const [mover, stack] = model(JSON.parse(view.textContent).model_id).children.map(model)
    const frames = stack.children.map(child => make('div', { innerHTML: model(child).value, hidden: true }))
    const show = shown => frames.forEach((frame, i) => { frame.hidden = i !== shown })
    const control = mover._model_name === 'SelectionSliderModel' ? slider : buttons
    view.after(make('div', { className: 'explorer' }, control(mover, frames, show), ...frames))
  }
})
